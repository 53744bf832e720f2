//! `desired.json`: written whole, its generation one up each time.

use std::{fs, io};

use engine::provider::ProviderError;
use engine::store::write_durably;
use serde_json::Value;
use spec::action::Action;
use spec::host::{HostSpec, RunState};
use spec::layout::DeploymentLayout;

use super::host_name;
use crate::host_spec::{ASK, inputs, is_wanted, next};

/// The host spec that lies in the bucket, if any.
pub fn load(layout: &DeploymentLayout) -> Result<Option<HostSpec>, ProviderError> {
    let path = layout.bucket().desired(&host_name());
    match fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|error| ProviderError::permanent(path.display(), error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ProviderError::permanent(path.display(), error)),
    }
}

pub fn store(layout: &DeploymentLayout, spec: &HostSpec) -> Result<(), ProviderError> {
    let path = layout.bucket().desired(&host_name());
    let bytes = serde_json::to_vec_pretty(spec).map_err(|error| ProviderError::permanent(path.display(), error))?;
    write_durably(&path, &bytes).map_err(|error| ProviderError::permanent(path.display(), error))
}

pub fn read(layout: &DeploymentLayout) -> Result<Option<Value>, ProviderError> {
    // A spec that says "stopped" is what an interrupted `down` left: not what a running deployment wants.
    let running = load(layout)?.filter(|spec| spec.run == RunState::Running);
    running.map(|spec| inputs(&spec).map_err(|error| ProviderError::permanent("desired.json", error))).transpose()
}

/// With what is asked for once, if anything is; nothing is written where that was asked already.
pub async fn write(layout: &DeploymentLayout, wanted: &Value) -> Result<(), ProviderError> {
    let wrong = |error| ProviderError::permanent("host-spec.local", error);
    let (host, ask) = (super::lasting(wanted), asked(wanted).map_err(wrong)?);
    let stored = load(layout)?;
    let is_there = stored.as_ref().map(|spec| is_wanted(spec, &host, ask.as_ref())).transpose().map_err(wrong)?;
    if ask.is_some() && is_there == Some(true) {
        return Ok(());
    }
    store(layout, &next(&host, ask.as_ref(), stored.as_ref()).map_err(wrong)?)
}

fn asked(wanted: &Value) -> Result<Option<Action>, serde_json::Error> {
    wanted.get(ASK).map(|action| serde_json::from_value(action.clone())).transpose()
}

/// The same under the next generation.
pub fn renew(layout: &DeploymentLayout) -> Result<(), ProviderError> {
    match load(layout)? {
        None => Ok(()),
        Some(mut spec) => {
            spec.generation += 1;
            store(layout, &spec)
        }
    }
}

pub fn remove(layout: &DeploymentLayout) -> Result<(), ProviderError> {
    let path = layout.bucket().desired(&host_name());
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ProviderError::permanent(path.display(), error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub mod tests {
    use spec::host::{ArtifactSpec, Phase, Program, UnitSpec};

    use super::*;

    pub fn inputs(port: u16) -> Value {
        let unit = UnitSpec {
            name: "dsgate".parse().unwrap(),
            program: Program::Artifact(ArtifactSpec {
                name: "dsgate".to_owned(),
                sha256: "0".repeat(64).parse().unwrap(),
            }),
            secrets: Vec::new(),
            args: Vec::new(),
            env: Default::default(),
            ports: vec![port],
            ready_url: format!("http://127.0.0.1:{port}/ready"),
            stop_grace: spec::amount::Span::seconds(1),
            phase: Phase::Gateway,
        };
        let spec = HostSpec {
            deployment: "default".parse().unwrap(),
            host: host_name(),
            generation: 7,
            run: RunState::Running,
            weights: Vec::new(),
            files: Vec::new(),
            units: vec![unit],
            first_token: Vec::new(),
            monitoring: None,
            agent: None,
            gpus: None,
            actions: Vec::new(),
        };
        crate::host_spec::inputs(&spec).unwrap()
    }

    #[tokio::test]
    async fn the_generation_goes_up_with_each_write() {
        let folder = tempfile::tempdir().unwrap();
        let layout = spec::layout::HomeLayout::new(folder.path()).deployment(&"default".parse().unwrap());
        for generation in 1..=3 {
            write(&layout, &inputs(8080)).await.unwrap();
            assert_eq!(load(&layout).unwrap().unwrap().generation, generation);
        }
    }

    #[tokio::test]
    async fn a_spec_that_an_interrupted_down_left_is_not_what_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let layout = spec::layout::HomeLayout::new(folder.path()).deployment(&"default".parse().unwrap());
        write(&layout, &inputs(8080)).await.unwrap();
        let mut spec = load(&layout).unwrap().unwrap();
        spec.run = RunState::Stopped;
        store(&layout, &spec).unwrap();
        assert_eq!(read(&layout).unwrap(), None);
    }
}
