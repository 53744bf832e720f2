//! The whole agent without its process: real child processes (small shells), a ready endpoint of the test's own.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::extract::{Json, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use engine::store::write_durably;
use spec::action::{Act, Action};
use spec::amount::Span;
use spec::certificate::{CertificateSpec, Reach};
use spec::host::{Arg, ArtifactSpec, FileSpec, FirstTokenProbe, PhaseState, Program, UnitSpec, UnitState};
use spec::id::SecretName;
use spec::layout::HomeLayout;
use spec::weights::WeightsSpec;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::observe::{AgentLife, ObservedState, Summary, observe};
use crate::process;
use crate::serve::{AgentError, serve};
use crate::supervisor::fake::FakeSupervisor;
use crate::supervisor::{ChildSupervisor, Signal};
use crate::weights::digest_of;

const PATIENCE: Duration = Duration::from_secs(30);

/// What a daemon would answer.
#[derive(Debug, Default)]
struct Answers {
    ready: AtomicBool,
    tokens: AtomicU64,
}

struct Scene {
    _folder: tempfile::TempDir,
    home: HomeLayout,
    site: Site,
    answers: Arc<Answers>,
    base_url: String,
    spec: HostSpec,
}

struct RunningAgent {
    goodbye: oneshot::Sender<()>,
    task: JoinHandle<Result<(), AgentError>>,
}

impl Scene {
    /// One unit, `daemon`, with weights, a file, a secret and a first-token probe.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = HomeLayout::new(folder.path().join("home"));
        let site = Site::new(&home, &"demo".parse().unwrap(), &"local".parse().unwrap());
        let answers = Arc::new(Answers { ready: AtomicBool::new(true), ..Answers::default() });
        let base_url = start_endpoint(answers.clone()).await;
        let gguf = folder.path().join("tiny.gguf");
        fs::write(&gguf, b"GGUF and some more").unwrap();
        write_durably(&site.secret(&"key".parse().unwrap()), b"sesame\n").unwrap();
        let artifact = install_shell(&home);
        let script = "echo \"weights $0 file $(cat $1) data $2\"; exec sleep 600";
        let args = vec![
            Arg::Text("-c".to_owned()),
            Arg::Text(script.to_owned()),
            Arg::Weights("tiny".parse().unwrap()),
            Arg::File("greeting".to_owned()),
            Arg::DataFolder,
        ];
        let spec = HostSpec {
            deployment: site.deployment.clone(),
            host: site.name.clone(),
            generation: 1,
            run: RunState::Running,
            weights: vec![WeightsSpec {
                name: "tiny".parse().unwrap(),
                sources: vec![format!("file:{}", gguf.display()).parse().unwrap()],
                sha256: None,
                size: None,
            }],
            files: vec![FileSpec { name: "greeting".to_owned(), content: "hello".to_owned() }],
            units: vec![UnitSpec {
                name: "daemon".parse().unwrap(),
                program: Program::Artifact(artifact),
                args,
                secrets: Vec::new(),
                env: BTreeMap::new(),
                ports: Vec::new(),
                ready_url: format!("{base_url}/ready"),
                stop_grace: Span(Duration::from_millis(300)),
                phase: Phase::Daemon,
            }],
            first_token: vec![FirstTokenProbe {
                unit: "daemon".parse().unwrap(),
                base_url: format!("{base_url}/v1"),
                model: "tiny".to_owned(),
                key: "key".parse().unwrap(),
            }],
            monitoring: None,
            agent: None,
            gpus: None,
            actions: Vec::new(),
        };
        Self { _folder: folder, home, site, answers, base_url, spec }
    }

    /// The bare minimum: one unit that runs this script.
    async fn with_script(script: &str) -> Self {
        let mut scene = Self::new().await;
        scene.spec.weights.clear();
        scene.spec.first_token.clear();
        scene.spec.units[0].args = vec![Arg::Text("-c".to_owned()), Arg::Text(script.to_owned())];
        scene
    }

    fn ask(&mut self, change: impl FnOnce(&mut HostSpec)) {
        change(&mut self.spec);
        self.spec.generation += 1;
        self.write_desired();
    }

    fn write_desired(&self) {
        write_durably(&self.site.desired(), &serde_json::to_vec(&self.spec).unwrap()).unwrap();
    }

    fn start_agent(&self) -> RunningAgent {
        self.write_desired();
        let (goodbye, heard) = oneshot::channel();
        let supervisor = ChildSupervisor::new(self.site.host.clone());
        let site = self.site.clone();
        let task = tokio::spawn(serve(site, supervisor, Supplies::OnDisk, FetchSettings::default(), async move {
            heard.await.unwrap();
        }));
        RunningAgent { goodbye, task }
    }

    async fn status_when(&self, what: &str, is_so: impl Fn(&HostStatus) -> bool) -> HostStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = status::read(&self.site.status());
            if let Some(status) = status.as_ref().filter(|status| is_so(status)) {
                return status.clone();
            }
            assert!(Instant::now() < deadline, "never {what}: {status:#?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn status_when_ready(&self) -> HostStatus {
        self.status_when("ready", |status| status.generation == self.spec.generation && status.ready_since.is_some())
            .await
    }

    async fn stop(&mut self, agent: RunningAgent) {
        self.ask(|spec| spec.run = RunState::Stopped);
        agent.task.await.unwrap().unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.site.host.log("daemon")).unwrap_or_default()
    }

    async fn observe(&self) -> crate::observe::Observed {
        observe(&self.home, &self.site.deployment, &self.site.name).await.unwrap()
    }
}

impl RunningAgent {
    /// As a signal would: no unit is stopped.
    async fn leave(self) {
        self.goodbye.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

fn install_shell(home: &HomeLayout) -> ArtifactSpec {
    let sha256 = digest_of(Path::new("/bin/sh"), &mut |_| Ok(())).unwrap();
    let path = home.artifact(&sha256, "sh");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink("/bin/sh", path).unwrap();
    ArtifactSpec { name: "sh".to_owned(), sha256 }
}

async fn start_endpoint(answers: Arc<Answers>) -> String {
    let ready = async |State(answers): State<Arc<Answers>>| {
        if answers.ready.load(Ordering::SeqCst) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    };
    let complete = async |State(answers): State<Arc<Answers>>,
                          headers: HeaderMap,
                          Json(request): Json<serde_json::Value>| {
        assert_eq!((headers["authorization"].to_str().unwrap(), &request["model"]), ("Bearer sesame", &"tiny".into()));
        answers.tokens.fetch_add(1, Ordering::SeqCst);
        Json(serde_json::json!({"choices": [{"text": "!"}], "usage": {"completion_tokens": 1}}))
    };
    let router =
        axum::Router::new().route("/ready", get(ready)).route("/v1/completions", post(complete)).with_state(answers);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn pid(status: &HostStatus) -> ProcessId {
    status.units[0].process.unwrap()
}

/// As `kill -9` would.
fn kill(process: ProcessId) {
    let pid = rustix::process::Pid::from_raw(process.pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_host_comes_up_and_goes_down() {
    let mut scene = Scene::new().await;
    assert_eq!(scene.observe().await.summary, Summary::Absent);
    let agent = scene.start_agent();
    let status = scene.status_when_ready().await;
    let phases: Vec<_> = status.phases.iter().map(|line| (line.phase, line.state)).collect();
    let expected = [Phase::Files, Phase::Weights, Phase::Daemon, Phase::FirstToken];
    assert_eq!(phases, expected.map(|phase| (phase, PhaseState::Done)));
    assert!(status.phases.iter().all(|line| line.started_at.is_some() && line.ended_at.is_some()));
    let weights = &status.weights[0].path;
    let data = scene.site.host.data(&"daemon".parse().unwrap());
    assert_eq!(scene.log(), format!("weights {} file hello data {}\n", weights.display(), data.display()));
    let observed = scene.observe().await;
    assert_eq!((observed.summary, observed.agent), (Summary::Ready, AgentLife::Alive));

    scene.stop(agent).await;
    let last = status::read(&scene.site.status()).unwrap();
    assert_eq!((last.units[0].state, last.ready_since), (UnitState::Stopped, None));
    assert!(!process::is_alive(&pid(&status)));
    assert_eq!(scene.observe().await.summary, Summary::Stopped);
    assert!(weights.exists());

    scene.ask(|spec| spec.run = RunState::Running);
    let agent = scene.start_agent();
    let status = scene.status_when_ready().await;
    assert_eq!((status.units[0].restarts, &status.units[0].last_exit), (0, &None), "a first start again");
    scene.stop(agent).await;
}

#[tokio::test]
async fn a_killed_unit_is_started_again_and_asked_for_a_token_again() {
    let mut scene = Scene::new().await;
    let agent = scene.start_agent();
    let before = scene.status_when_ready().await;
    kill(pid(&before));
    let after =
        scene.status_when("restarted", |status| status.units[0].restarts == 1 && status.ready_since.is_some()).await;
    assert_eq!(after.units[0].last_exit.as_deref(), Some("signal: 9 (SIGKILL)"));
    assert_ne!(pid(&after), pid(&before));
    assert_eq!(scene.answers.tokens.load(Ordering::SeqCst), 2);
    scene.stop(agent).await;
}

#[tokio::test]
async fn a_new_agent_adopts_what_runs() {
    let mut scene = Scene::new().await;
    let agent = scene.start_agent();
    let before = scene.status_when_ready().await;
    agent.leave().await;
    let observed = scene.observe().await;
    assert_eq!((observed.summary, observed.agent), (Summary::Unattended, AgentLife::Dead));

    let agent = scene.start_agent();
    let started = |status: &HostStatus| status.agent.started_at != before.agent.started_at;
    let after = scene.status_when("adopted", |status| started(status) && status.ready_since.is_some()).await;
    assert_eq!((pid(&after), after.units[0].restarts), (pid(&before), 0));
    kill(pid(&after));
    let again =
        scene.status_when("restarted", |status| status.units[0].restarts == 1 && status.ready_since.is_some()).await;
    assert_eq!(again.units[0].last_exit.as_deref(), Some("unknown, adopted"));
    agent.leave().await;
    kill(pid(&again));
    let deadline = Instant::now() + PATIENCE;
    while scene.observe().await.summary != Summary::Down {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(scene.observe().await.units[0].state, ObservedState::Dead);

    let agent = scene.start_agent();
    scene.status_when("repaired", |status| started(status) && status.units[0].restarts == 2).await;
    scene.stop(agent).await;
}

#[tokio::test]
async fn a_second_agent_ends_at_once() {
    let mut scene = Scene::with_script("exec sleep 600").await;
    let agent = scene.start_agent();
    scene.status_when_ready().await;
    let error = scene.start_agent().task.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "another agent runs on host local of deployment demo already; next: dsctl status");
    scene.stop(agent).await;
}

#[tokio::test]
async fn a_busy_port_is_named_with_its_holder_and_waited_for() {
    let mut scene = Scene::with_script("exec sleep 600").await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    scene.spec.units[0].ports = vec![port];
    scene.spec.units[0].phase = Phase::Gateway;
    let agent = scene.start_agent();
    let status = scene.status_when("blocked", |status| status.units[0].state == UnitState::Failed).await;
    let failure = status.phases[1].failure.clone().unwrap();
    let start = format!("port {port} on 127.0.0.1 is in use by ");
    assert!(failure.message.starts_with(&start), "{failure:?}");
    assert!(failure.message.ends_with(&format!("(pid {})", std::process::id())), "{failure:?}");
    assert!(failure.next.starts_with("dsctl up --port "), "{failure:?}");
    assert_eq!(scene.observe().await.summary, Summary::Failed);
    drop(listener);
    scene.status_when_ready().await;
    scene.stop(agent).await;
}

#[tokio::test]
async fn a_unit_that_will_not_go_is_killed_with_all_it_started() {
    let script = "trap '' TERM; sleep 600 & echo child $!; while true; do sleep 600; done";
    let mut scene = Scene::with_script(script).await;
    let agent = scene.start_agent();
    let status = scene.status_when_ready().await;
    let deadline = Instant::now() + PATIENCE;
    let child = loop {
        if let Some(child) = scene.log().trim().strip_prefix("child ").and_then(|child| child.parse().ok()) {
            break process::identify(child).unwrap();
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    scene.stop(agent).await;
    assert!(!process::is_alive(&pid(&status)));
    while process::is_alive(&child) {
        assert!(Instant::now() < deadline, "the unit's child is left");
    }
    let last = status::read(&scene.site.status()).unwrap();
    assert_eq!(last.units[0].last_exit.as_deref(), Some("signal: 9 (SIGKILL)"));
}

#[tokio::test]
async fn a_restart_is_done_once_even_by_the_next_agent() {
    let mut scene = Scene::with_script("exec sleep 600").await;
    let agent = scene.start_agent();
    let before = scene.status_when_ready().await;
    let restart = |unit: &str| Act::Restart(unit.parse().unwrap());
    scene.ask(|spec| {
        spec.actions = vec![
            Action { id: "a".to_owned(), act: restart("daemon") },
            Action { id: "b".to_owned(), act: restart("nobody") },
        ];
    });
    let after = scene.status_when("acted", |status| status.outcomes.len() == 2).await;
    let result = |id: &str| after.outcomes.iter().find(|outcome| outcome.id == id).unwrap().result.clone();
    assert_eq!(result("b"), Err("there is no unit nobody; there are daemon".to_owned()));
    let text = format!("daemon: stopped pid {}, started pid {}", pid(&before).pid, pid(&after).pid);
    assert_eq!(result("a"), Ok(text));
    agent.leave().await;

    let agent = scene.start_agent();
    let started = |status: &HostStatus| status.agent.started_at != before.agent.started_at;
    let later = scene.status_when("adopted", |status| started(status) && status.ready_since.is_some()).await;
    assert_eq!((pid(&later), &later.outcomes), (pid(&after), &after.outcomes));
    scene.stop(agent).await;
}

#[tokio::test]
async fn a_changed_unit_is_restarted_and_one_no_longer_asked_for_is_stopped() {
    let mut scene = Scene::new().await;
    let agent = scene.start_agent();
    let before = scene.status_when_ready().await;
    scene.ask(|_| {});
    assert_eq!(pid(&scene.status_when_ready().await), pid(&before), "only the generation changed");
    scene.ask(|spec| spec.files[0].content = "good day".to_owned());
    let after = scene.status_when_ready().await;
    assert_ne!(pid(&after), pid(&before), "a file on its command line changed");
    assert!(scene.log().contains("file good day"));
    scene.ask(|spec| {
        spec.units.clear();
        spec.first_token.clear();
    });
    scene.status_when("forgotten", |status| status.units.is_empty()).await;
    assert!(!process::is_alive(&pid(&after)));
    assert!(!scene.site.host.unit(&"daemon".parse().unwrap()).exists());
    scene.stop(agent).await;
}

#[tokio::test]
async fn two_silences_take_the_readiness_and_an_answer_gives_it_back() {
    let mut scene = Scene::with_script("exec sleep 600").await;
    let agent = scene.start_agent();
    scene.status_when_ready().await;
    scene.answers.ready.store(false, Ordering::SeqCst);
    let status = scene.status_when("silent", |status| status.ready_since.is_none()).await;
    assert_eq!(status.units[0].state, UnitState::Starting);
    scene
        .status_when("told", |status| status.phases[1].detail.contains("/ready answers 503 Service Unavailable"))
        .await;
    scene.answers.ready.store(true, Ordering::SeqCst);
    scene.status_when_ready().await;
    scene.stop(agent).await;
}

#[tokio::test]
async fn what_can_not_be_used_is_named_in_its_phase() {
    let mut scene = Scene::new().await;
    let other = ArtifactSpec { name: "sh".to_owned(), sha256: "0".repeat(64).parse().unwrap() };
    scene.spec.units[0].program = Program::Artifact(other);
    scene.spec.weights[0].sources = vec!["file:/nowhere/tiny.gguf".parse().unwrap()];
    let agent = scene.start_agent();
    let status = scene.status_when("failed", |status| status.phases[1].state == PhaseState::Failed).await;
    assert!(status.phases[1].detail.contains("/nowhere/tiny.gguf"), "{status:?}");
    assert_eq!(
        (status.phases[2].state, status.phases[2].detail.as_str()),
        (PhaseState::Waiting, "waits for weights tiny")
    );
    scene.ask(|spec| spec.weights[0].sources = vec![format!("file:{}", "/bin/sh").parse().unwrap()]);
    scene.status_when("not weights", |status| status.phases[1].detail.contains("not a GGUF file")).await;
    scene.ask(|spec| {
        spec.weights.clear();
        spec.units[0].args = vec![Arg::Secret("other".parse().unwrap())];
    });
    scene.status_when("no secret", |status| status.phases[1].detail.contains("secret other is missing at")).await;
    scene.ask(|spec| spec.units[0].args.clear());
    let status =
        scene.status_when("no artifact", |status| status.phases[1].detail.contains("artifact sh is missing at")).await;
    assert_eq!(status.phases[1].failure.as_ref().unwrap().next, "dsctl up");
    scene.stop(agent).await;
}

#[tokio::test]
async fn a_host_spec_that_is_none_is_told_and_the_last_good_one_stays() {
    let mut scene = Scene::with_script("exec sleep 600").await;
    let agent = scene.start_agent();
    let before = scene.status_when_ready().await;
    write_durably(&scene.site.desired(), b"{\"generation\": 7}").unwrap();
    let status = scene.status_when("told", |status| status.phases[0].state == PhaseState::Failed).await;
    assert!(status.phases[0].detail.contains("desired.json: not a host spec: missing field"), "{status:?}");
    assert_eq!(pid(&status), pid(&before));
    scene.stop(agent).await;
}

#[tokio::test]
async fn units_do_not_outlive_their_folder() {
    let scene = Scene::with_script("exec sleep 600").await;
    let agent = scene.start_agent();
    let status = scene.status_when_ready().await;
    fs::remove_dir_all(scene.site.host.root()).unwrap();
    let error = agent.task.await.unwrap().unwrap_err();
    assert!(matches!(error, AgentError::FolderGone { .. }), "{error}");
    assert!(!process::is_alive(&pid(&status)));
}

#[tokio::test]
async fn five_early_deaths_fail_the_phase_and_it_is_tried_on() {
    let scene = Scene::with_script("").await;
    scene.write_desired();
    let supervisor = FakeSupervisor::default();
    let unit: UnitName = "daemon".parse().unwrap();
    let mut agent =
        Converger::new(scene.site.clone(), supervisor.clone(), Supplies::OnDisk, FetchSettings::default()).unwrap();
    fs::create_dir_all(scene.site.host.logs()).unwrap();
    fs::write(scene.site.host.log("daemon"), "first\nout of luck\n").unwrap();
    let mut now = Moment::ZERO;
    for _ in 0..5 {
        agent.tick_at(now).await;
        supervisor.end(&unit, "exit status: 3");
        agent.tick_at(now).await;
        now += Duration::from_secs(29);
    }
    let status = status::read(&scene.site.status()).unwrap();
    let failure = status.phases[1].failure.clone().unwrap();
    assert_eq!(failure.message, "daemon ended 5 times before it was ready, last with exit status: 3");
    assert_eq!(
        (failure.log_tail, failure.next),
        (vec!["first".to_owned(), "out of luck".to_owned()], "dsctl logs daemon".to_owned())
    );
    assert_eq!((status.units[0].state, status.units[0].restarts), (UnitState::Backoff, 4));
    agent.tick_at(now).await;
    assert_eq!(supervisor.world().starts.len(), 5, "the slow backoff");
    agent.tick_at(now + Duration::from_secs(1)).await;
    assert_eq!(supervisor.world().starts.len(), 6, "but it goes on");
}

#[tokio::test]
async fn the_gateway_stops_first_and_the_polite_signal_comes_first() {
    let mut scene = Scene::with_script("").await;
    let gateway = UnitSpec { name: "gateway".parse().unwrap(), phase: Phase::Gateway, ..scene.spec.units[0].clone() };
    scene.spec.units.push(gateway.clone());
    scene.write_desired();
    let supervisor = FakeSupervisor::default();
    let mut agent =
        Converger::new(scene.site.clone(), supervisor.clone(), Supplies::OnDisk, FetchSettings::default()).unwrap();
    agent.tick_at(Moment::ZERO).await;
    assert_eq!(supervisor.world().starts.len(), 2);
    supervisor.world().stubborn = vec![gateway.name.clone()];
    scene.ask(|spec| spec.run = RunState::Stopped);
    let second = Duration::from_secs(1);
    let mut ended = Next::TickAgain;
    for tick in 1..=5 {
        ended = agent.tick_at(second * tick).await;
    }
    assert_eq!(ended, Next::End);
    let daemon = scene.spec.units[0].name.clone();
    let expected =
        [(gateway.name.clone(), Signal::Terminate), (gateway.name, Signal::Kill), (daemon, Signal::Terminate)];
    assert_eq!(supervisor.world().signals, expected);
}

#[tokio::test]
async fn a_status_that_can_not_be_written_ends_nothing() {
    let mut scene = Scene::with_script("exec sleep 600").await;
    fs::create_dir_all(scene.site.status()).unwrap();
    let agent = scene.start_agent();
    let deadline = Instant::now() + PATIENCE;
    while scene.observe().await.units[0].state != ObservedState::Ready {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fs::remove_dir(scene.site.status()).unwrap();
    scene.status_when_ready().await;
    assert!(scene.base_url.starts_with("http://127.0.0.1:"));
    scene.stop(agent).await;
}

/// A host that has gone wrong in every way that is paused and counted.
async fn failed_scene() -> (Scene, FakeSupervisor, Converger<FakeSupervisor>, Moment) {
    let mut scene = Scene::with_script("").await;
    let name = |name: &str| -> UnitName { name.parse().unwrap() };
    let blocked =
        UnitSpec { name: name("blocked"), args: vec![Arg::File("nowhere".to_owned())], ..scene.spec.units[0].clone() };
    scene.spec.units.push(UnitSpec { phase: Phase::Gateway, ..blocked });
    scene.spec.weights = vec![WeightsSpec {
        name: "none".parse().unwrap(),
        sources: vec!["file:/nowhere/none.gguf".parse().unwrap()],
        sha256: None,
        size: None,
    }];
    scene.write_desired();
    let supervisor = FakeSupervisor::default();
    let mut agent =
        Converger::new(scene.site.clone(), supervisor.clone(), Supplies::OnDisk, FetchSettings::default()).unwrap();
    let mut now = Moment::ZERO;
    for _ in 0..5 {
        agent.tick_at(now).await;
        supervisor.end(&name("daemon"), "exit status: 3");
        agent.tick_at(now).await;
        now += Duration::from_secs(29);
    }
    let deadline = Instant::now() + PATIENCE;
    while agent.weights.phase().unwrap().state != PhaseState::Failed {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
        agent.tick_at(now).await;
    }
    (scene, supervisor, agent, now)
}

#[tokio::test]
async fn a_new_generation_is_judged_by_fresh_tries() {
    let (mut scene, supervisor, mut agent, now) = failed_scene().await;
    let states = |status: &HostStatus| status.phases.iter().map(|line| (line.phase, line.state)).collect::<Vec<_>>();
    let failed = [Phase::Weights, Phase::Daemon, Phase::Gateway].map(|phase| (phase, PhaseState::Failed));
    let before = status::read(&scene.site.status()).unwrap();
    assert_eq!(states(&before)[1..], failed);
    let starts = supervisor.world().starts.len();

    scene.ask(|spec| {
        spec.units[1].args.clear();
        spec.files[0].content = "changed".to_owned();
    });
    agent.tick_at(now).await;
    let after = status::read(&scene.site.status()).unwrap();
    assert_eq!(after.generation, before.generation + 1);
    let fresh = [Phase::Weights, Phase::Daemon, Phase::Gateway].map(|phase| (phase, PhaseState::Running));
    assert_eq!(states(&after)[1..], fresh);
    assert!(after.phases.iter().all(|line| line.failure.is_none()), "{after:#?}");
    let started: Vec<String> = supervisor.world().starts[starts..].iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(started, ["blocked", "daemon"], "neither pause is waited for");
}

#[tokio::test]
async fn the_first_thing_an_agent_does_is_to_say_that_it_is_there() {
    let mut scene = Scene::new().await;
    let agent = scene.start_agent();
    let before = scene.status_when_ready().await;
    agent.leave().await;
    let supervisor = ChildSupervisor::new(scene.site.host.clone());
    let mut next = Converger::new(scene.site.clone(), supervisor, Supplies::OnDisk, FetchSettings::default()).unwrap();
    next.announce();
    let said = status::read(&scene.site.status()).unwrap();
    assert_eq!((said.generation, said.ready_since), (before.generation, None));
    assert!(said.agent.started_at > before.agent.started_at);
    assert_eq!(pid(&said), pid(&before), "adopted by now");
    let lines: Vec<_> = said.phases.iter().map(|line| (line.phase, line.state)).collect();
    let expected = [Phase::Files, Phase::Weights, Phase::Daemon, Phase::FirstToken];
    assert_eq!(lines, expected.map(|phase| (phase, PhaseState::Waiting)));
    drop(next);
    let agent = scene.start_agent();
    scene.status_when_ready().await;
    let lock = fs::read_to_string(scene.site.host.agent_lock()).unwrap();
    assert_eq!(lock, format!("{}\n", std::process::id()));
    scene.stop(agent).await;
}

/// A file that can't be read to its end before this value is gone.
struct Slow(std::path::PathBuf);

impl Slow {
    fn new(path: &Path) -> Self {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        Self(path.to_owned())
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // Open for both, it waits for nobody; its reader gets an end when it is closed, and there is no next one.
        let _both = fs::OpenOptions::new().read(true).write(true).open(&self.0).unwrap();
        fs::remove_file(&self.0).unwrap();
    }
}

#[tokio::test]
async fn a_long_look_at_an_artifact_does_not_leave_the_status_to_the_agent_before() {
    let mut scene = Scene::with_script("exec sleep 600").await;
    let agent = scene.start_agent();
    let before = scene.status_when_ready().await;
    agent.leave().await;
    kill(pid(&before));
    let artifact = ArtifactSpec { name: "slow".to_owned(), sha256: "0".repeat(64).parse().unwrap() };
    let slow = Slow::new(&scene.home.artifact(&artifact.sha256, "slow"));
    scene.spec.units[0].program = Program::Artifact(artifact);
    let agent = scene.start_agent();
    let started = |status: &HostStatus| status.agent.started_at != before.agent.started_at;
    let said = scene.status_when("announced", started).await;
    assert_eq!((said.generation, said.ready_since), (before.generation, None));
    assert!(said.phases.iter().all(|line| line.state == PhaseState::Waiting), "{said:#?}");
    drop(slow);
    scene.status_when("looked at", |status| status.phases[1].detail.starts_with("artifact slow ")).await;
    scene.stop(agent).await;
}

#[tokio::test]
async fn a_unit_that_outlives_sigkill_is_told_and_the_others_are_stopped() {
    let mut scene = Scene::with_script("").await;
    let gateway = UnitSpec { name: "gateway".parse().unwrap(), phase: Phase::Gateway, ..scene.spec.units[0].clone() };
    scene.spec.units.push(gateway.clone());
    scene.write_desired();
    let supervisor = FakeSupervisor::default();
    let mut agent =
        Converger::new(scene.site.clone(), supervisor.clone(), Supplies::OnDisk, FetchSettings::default()).unwrap();
    agent.tick_at(Moment::ZERO).await;
    supervisor.world().immortal = vec![gateway.name.clone()];
    scene.ask(|spec| spec.run = RunState::Stopped);
    let second = Duration::from_secs(1);
    let mut ticks = 0;
    let next = loop {
        ticks += 1;
        assert!(ticks < 30, "bounded");
        match agent.tick_at(second * ticks).await {
            Next::TickAgain => {}
            next => break next,
        }
    };
    let process = supervisor.world().units[&gateway.name].process;
    assert_eq!(next, Next::GiveUp { left: format!("gateway (pid {}) outlives SIGKILL", process.pid) });
    assert!(supervisor.world().units.keys().eq([&gateway.name]), "the daemon was stopped and forgotten");
    let status = status::read(&scene.site.status()).unwrap();
    let failure = status.phases.iter().find(|line| line.phase == Phase::Gateway).unwrap().failure.clone().unwrap();
    assert_eq!(failure.message, format!("gateway (pid {}) outlives SIGKILL", process.pid));
    assert_eq!(failure.next, "end it by hand, then: dsctl down");
}

#[tokio::test]
async fn a_unit_of_which_nobody_can_tell_is_no_stopped_one() {
    let mut scene = Scene::with_script("").await;
    scene.write_desired();
    let supervisor = FakeSupervisor::default();
    let new_agent =
        || Converger::new(scene.site.clone(), supervisor.clone(), Supplies::OnDisk, FetchSettings::default()).unwrap();
    let unit = scene.spec.units[0].name.clone();
    new_agent().tick_at(Moment::ZERO).await;
    supervisor.world().unreadable = vec![unit.clone()];
    let mut agent = new_agent();
    scene.ask(|spec| spec.run = RunState::Stopped);
    let left = "daemon: reading daemon.json: other error".to_owned();
    assert_eq!(agent.tick_at(Moment::ZERO).await, Next::GiveUp { left });
    assert!(supervisor.world().units.contains_key(&unit), "not forgotten");

    supervisor.world().unreadable.clear();
    assert_eq!(agent.tick_at(Moment::ZERO).await, Next::TickAgain, "found, and to be stopped");
    let second = Duration::from_secs(1);
    agent.tick_at(second).await;
    assert_eq!(agent.tick_at(second * 2).await, Next::End);
    assert_eq!(supervisor.world().signals, [(unit, Signal::Terminate)]);
}

#[tokio::test]
async fn an_agent_that_can_not_stop_all_ends_with_an_error() {
    let mut scene = Scene::with_script("exec sleep 600").await;
    let agent = scene.start_agent();
    let status = scene.status_when_ready().await;
    agent.leave().await;
    let record = scene.site.host.unit(&"daemon".parse().unwrap());
    let whole = fs::read(&record).unwrap();
    fs::write(&record, "torn").unwrap();
    scene.ask(|spec| spec.run = RunState::Stopped);
    let error = scene.start_agent().task.await.unwrap().unwrap_err();
    assert!(matches!(error, AgentError::NotStopped { .. }), "{error}");
    assert!(error.to_string().contains("daemon.json is not a unit's record"), "{error}");
    let told = status::read(&scene.site.status()).unwrap();
    assert!(told.phases[1].detail.starts_with("daemon may still run: "), "{told:#?}");
    assert!(process::is_alive(&pid(&status)));
    fs::write(&record, whole).unwrap();
    scene.start_agent().task.await.unwrap().unwrap();
    assert!(!process::is_alive(&pid(&status)));
}

#[tokio::test]
async fn a_unit_starts_once_its_certificate_is_issued_and_not_again_for_another() {
    let mut scene = Scene::with_script("test -s \"$0\" && test -s \"$1\" && exec sleep 600").await;
    let authority: SecretName = "tls-ca".parse().unwrap();
    let wanted = CertificateSpec { authority: authority.clone(), reach: Reach::Loopback };
    scene.spec.units[0].args.extend([Arg::Certificate(wanted), Arg::CertificateKey]);
    let agent = scene.start_agent();
    let failure = |status: &HostStatus| status.phases.iter().find_map(|line| line.failure.clone());
    let refused = scene.status_when("refused", |status| failure(status).is_some()).await;
    assert!(failure(&refused).unwrap().message.contains("tls-ca"), "{refused:#?}");

    crate::certificate::tests::write_authority(&scene.site.secret(&authority), "demo");
    let ready = scene.status_when_ready().await;
    assert!(ready.certificate_authority.as_ref().unwrap().contains("BEGIN CERTIFICATE"));
    assert_eq!((ready.units[0].restarts, scene.log().as_str()), (0, ""), "both files were there");

    let first = fs::read(scene.site.host.certificate()).unwrap();
    fs::remove_file(scene.site.host.certificate_record()).unwrap();
    scene.ask(|_| ());
    let again = scene.status_when_ready().await;
    assert_ne!(fs::read(scene.site.host.certificate()).unwrap(), first, "issued again");
    assert_eq!(pid(&again), pid(&ready), "the unit takes it up by itself");
    scene.stop(agent).await;
}
