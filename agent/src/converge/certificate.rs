//! The host's certificate: looked at every minute, and issued again by [`crate::certificate`] when it is time.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use spec::certificate::{CertificateSpec, Reach};
use spec::host::HostSpec;
use tokio::sync::mpsc::UnboundedSender;

use super::Report;
use crate::certificate::{Authority, CertificateError, names_of_host, renew};
use crate::decide::Moment;
use crate::metadata;
use crate::probe;
use crate::site::Site;

const LOOK_EVERY: Duration = Duration::from_secs(60);
const RETRY_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct CertificateWork {
    /// For this wish; none while it is not done.
    done: Option<CertificateSpec>,
    failure: Option<String>,
    look_at: Moment,
    /// In PEM.
    authority: Option<String>,
    public: PublicAddress,
}

/// What the cloud says of the machine's address in front of it.
#[derive(Debug, Default)]
struct PublicAddress {
    known: Option<IpAddr>,
    is_asked: bool,
}

impl CertificateWork {
    /// True if none is wanted.
    pub fn is_done(&self, spec: &HostSpec) -> bool {
        spec.certificate().is_none_or(|wanted| self.done.as_ref() == Some(wanted))
    }

    pub fn failure(&self) -> Option<&String> {
        self.failure.as_ref()
    }

    /// Whom clients may trust, in PEM.
    pub fn authority(&self) -> Option<&String> {
        self.authority.as_ref()
    }

    /// The next look is taken at once.
    pub fn forgive(&mut self) {
        self.failure = None;
        self.look_at = Moment::ZERO;
    }

    /// What trusts the authority takes the place of `client` as soon as there is one.
    pub fn converge(
        &mut self,
        site: &Site,
        spec: &HostSpec,
        client: &mut reqwest::Client,
        (reports, now): (&UnboundedSender<Report>, Moment),
    ) {
        let Some(wanted) = spec.certificate() else {
            *self = Self::default();
            return;
        };
        if now < self.look_at && (self.is_done(spec) || self.failure.is_some()) {
            return;
        }
        self.ask_for_public_address(wanted.reach, reports);
        match self.look(site, wanted, client) {
            Ok(()) => {
                self.done = Some(wanted.clone());
                self.failure = None;
                self.look_at = now + LOOK_EVERY;
            }
            Err(message) => {
                tracing::error!(message, "no certificate");
                self.failure = Some(message);
                self.look_at = now + RETRY_EVERY;
            }
        }
    }

    /// What was found out about the address in front of the machine.
    pub fn take(&mut self, address: Option<IpAddr>) {
        self.public.is_asked = false;
        if address.is_some() && address != self.public.known {
            self.public.known = address;
            self.look_at = Moment::ZERO;
        }
    }

    fn look(&mut self, site: &Site, wanted: &CertificateSpec, client: &mut reqwest::Client) -> Result<(), String> {
        let text = |error: CertificateError| error.to_string();
        let authority = Authority::read(&site.secret(&wanted.authority), &site.deployment).map_err(text)?;
        let names = names_of_host(wanted.reach, self.public.known);
        if let Some(reason) = renew(&site.host, &authority, &names, Timestamp::now()).map_err(text)? {
            tracing::info!(?reason, ?names, "certificate issued");
        }
        if self.authority.as_deref() != Some(authority.certificate()) {
            *client = probe::client(Some(authority.certificate())).map_err(|error| error.to_string())?;
            self.authority = Some(authority.certificate().to_owned());
        }
        Ok(())
    }

    fn ask_for_public_address(&mut self, reach: Reach, reports: &UnboundedSender<Report>) {
        let Reach::Public(cloud) = reach else { return };
        if self.public.is_asked {
            return;
        }
        self.public.is_asked = true;
        let reports = reports.clone();
        tokio::spawn(async move {
            let address = metadata::public_address(cloud).await;
            // Nobody takes it when the agent ends.
            reports.send(Report::PublicAddress(address)).unwrap_or(());
        });
    }
}
