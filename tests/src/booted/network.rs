//! A network namespace with nothing but loopback, and ways in and out of it through this process.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::copy_bidirectional;

use crate::http::runtime;
use crate::process::run;

/// Gone with the value.
#[derive(Debug)]
pub struct Network {
    name: String,
    /// No way leads out.
    closed: Arc<AtomicBool>,
}

impl Network {
    /// With these addresses on its loopback.
    #[track_caller]
    pub fn new(addresses: &[IpAddr]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("dsctl-{}-{number}", std::process::id());
        ip(&["netns", "add", &name]);
        let network = Self { name, closed: Arc::default() };
        network.ip(&["link", "set", "lo", "up"]);
        for address in addresses {
            network.ip(&["address", "add", &address.to_string(), "dev", "lo"]);
        }
        network
    }

    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// A command that runs in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    #[track_caller]
    fn ip(&self, words: &[&str]) {
        ip(&[&["-n", &self.name], words].concat());
    }

    /// What the work gives that is done on a thread inside: its sockets belong there for good.
    #[track_caller]
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let path = self.path();
        let thread = std::thread::spawn(move || {
            let namespace = File::open(&path).expect("the namespace");
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("a way in");
            work()
        });
        thread.join().expect("the work inside")
    }

    #[track_caller]
    pub fn listen(&self, address: SocketAddr) -> TcpListener {
        self.inside(move || TcpListener::bind(address)).unwrap_or_else(|error| panic!("{address} inside: {error}"))
    }

    /// Whoever connects to `inner` inside reaches `outer` here.
    #[track_caller]
    pub fn lead_out(&self, inner: SocketAddr, outer: SocketAddr) {
        let (listener, closed) = (self.listen(inner), Arc::clone(&self.closed));
        carry(listener, move || {
            if closed.load(Ordering::SeqCst) {
                Err(io::ErrorKind::NetworkUnreachable.into())
            } else {
                TcpStream::connect(outer)
            }
        });
    }

    /// Whether connections out are cut off; those that stand go on.
    pub fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        run(Command::new("ip").args(["netns", "delete", &self.name]));
    }
}

#[track_caller]
fn ip(words: &[&str]) {
    run(Command::new("ip").args(words)).exits(0);
}

/// Every connection is joined to one of its own.
fn carry(listener: TcpListener, connect: impl Fn() -> io::Result<TcpStream> + Send + Clone + 'static) {
    listener.set_nonblocking(true).expect("a listener for the runtime");
    runtime().spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        while let Ok((mut near, _)) = listener.accept().await {
            let connect = connect.clone();
            tokio::spawn(async move {
                let Ok(Ok(far)) = tokio::task::spawn_blocking(connect).await else { return };
                far.set_nonblocking(true).expect("a stream for the runtime");
                let mut far = tokio::net::TcpStream::from_std(far).expect("a stream");
                // How a connection ends is its two ends' affair.
                copy_bidirectional(&mut near, &mut far).await.map(|_| ()).unwrap_or(());
            });
        }
    });
}
