//! `dsctl status`: what is really running, looked at now.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use agent::{Observed, Summary};
use providers::cloud::HostView;
use serde::Serialize;
use spec::deployment::Cloud;
use spec::id::DeploymentName;
use spec::route::GatewayStatus;

use crate::args::StatusArgs;
use crate::context::Context;
use crate::exit::Failure;
use crate::gateway::{Gateway, gateway_files};
use crate::site::{CloudSite, Kept};
use crate::talk::{print, print_json};
use crate::trust::{keep_authority, place};
use crate::view;

const WATCH_EVERY: Duration = Duration::from_secs(1);
/// The status as a whole must be there within two seconds, whatever hangs.
const GATEWAY_LIMIT: Duration = Duration::from_secs(1);

/// Everything that `status` shows.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    pub endpoint: Option<String>,
    /// Whom clients of the endpoint must trust; none if they need nothing for it.
    pub ca_file: Option<PathBuf>,
    pub host: Observed,
    /// None while the gateway does not answer.
    pub gateway: Option<GatewayStatus>,
}

pub async fn run(context: &Context, args: StatusArgs) -> Result<ExitCode, Failure> {
    let kept = Kept::find(context, &args.place)?;
    if kept.cloud() != Cloud::Local {
        return run_cloud(context, &kept, &args).await;
    }
    let name = &kept.name;
    if args.watch {
        return watch(context, name).await;
    }
    let report = look(context, name).await?;
    if args.json.json {
        print_json(&report)?;
    } else {
        print(view::status::status(&report))?;
    }
    Ok(exit_code(report.host.summary))
}

/// Everything that `status` shows of a deployment on a cloud.
#[derive(Debug, Serialize)]
pub struct CloudStatusReport {
    pub deployment: DeploymentName,
    pub cloud: Cloud,
    pub region: Option<String>,
    /// On record.
    pub resources: usize,
    /// None = a price is unknown.
    pub hourly_usd: Option<f64>,
    pub monthly_usd: Option<f64>,
    /// Whom clients of the endpoint must trust; none if they need nothing for it, or it is not known yet.
    pub ca_file: Option<PathBuf>,
    /// What an interrupted command left to be settled by the next one.
    pub is_settled: bool,
    pub host: HostView,
}

async fn run_cloud(context: &Context, kept: &Kept, args: &StatusArgs) -> Result<ExitCode, Failure> {
    if args.watch {
        return Err(Failure::usage("--watch: on a cloud the machine reports every few seconds; call status again"));
    }
    let cloud = CloudSite::look(&kept.deployment, &kept.name, &kept.layout).await?;
    let region = cloud.region();
    let host = match &region {
        Some(region) => cloud.adapter.host(region, &cloud.peek.state).await?,
        None => HostView::default(),
    };
    let monthly_usd = view::cloud::monthly(&cloud.peek.state);
    let report = CloudStatusReport {
        deployment: kept.name.clone(),
        cloud: kept.cloud(),
        region,
        resources: cloud.peek.state.resources.len() + cloud.peek.state.replaced.len(),
        hourly_usd: monthly_usd.map(view::cloud::an_hour),
        monthly_usd,
        ca_file: keep_authority(place(&context.home, &kept.name), host.current())?,
        is_settled: cloud.peek.is_settled,
        host,
    };
    if args.json.json {
        print_json(&report)?;
    } else {
        print(view::cloud::status(&report))?;
    }
    Ok(if report.host.is_ready() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Scripts can ask `dsctl status` whether the deployment serves.
fn exit_code(summary: Summary) -> ExitCode {
    match summary {
        Summary::Ready | Summary::Starting | Summary::Stopping | Summary::Stopped | Summary::Unattended => {
            ExitCode::SUCCESS
        }
        Summary::Absent | Summary::Degraded | Summary::Failed | Summary::Down => ExitCode::FAILURE,
    }
}

pub async fn look(context: &Context, name: &DeploymentName) -> Result<StatusReport, Failure> {
    let layout = context.deployment(name)?;
    let host_name = providers::local::host_name();
    let host = agent::observe(&context.home, name, &host_name);
    let gateway = async {
        let gateway = Gateway::of(&layout).ok()?;
        tokio::time::timeout(GATEWAY_LIMIT, gateway.get("/admin/status")).await.ok()?.ok()
    };
    let (host, gateway) = tokio::join!(host, gateway);
    let endpoint = gateway_files(&layout).ok().map(|files| files.endpoint());
    let host = host.map_err(Failure::failed)?;
    let ca_file = keep_authority(layout.certificate_authority(), host.status.as_ref())?;
    Ok(StatusReport { endpoint, ca_file, host, gateway })
}

async fn watch(context: &Context, name: &DeploymentName) -> Result<ExitCode, Failure> {
    let term = console::Term::stdout();
    let mut lines = 0;
    loop {
        let text = view::status::status(&look(context, name).await?);
        if term.is_term() {
            term.clear_last_lines(lines)?;
        }
        print(&text)?;
        lines = text.lines().count();
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        }
    }
}
