//! What must hold for a runbook to be one, beyond what its types say: names, the tree's shape, metrics that exist, and no
//! remedy without a verification and a way back.

use std::collections::BTreeSet;

use spec::metric::MetricKind;

use crate::runbook::{Branch, Cause, Check, LogCheck, MetricCheck, Reading, Remedy, Runbook, Unit};

impl Runbook {
    /// Checks what types can't: names, the tree's shape, metrics, and that no remedy stands alone.
    pub fn validate(&self) -> Result<(), String> {
        if self.steps.is_empty() {
            return Err("steps: at least one is needed".to_owned());
        }
        unique("steps", self.steps.iter().map(|step| &step.name))?;
        unique("causes", self.causes.iter().map(|cause| &cause.name))?;
        self.validate_tree()?;
        for step in &self.steps {
            validate_check(&step.see).map_err(|message| format!("steps.{}.see: {message}", step.name))?;
        }
        for cause in &self.causes {
            validate_cause(cause).map_err(|message| format!("causes.{}: {message}", cause.name))?;
        }
        Ok(())
    }

    /// Every branch leads to a later step or to a cause, and everything is led to.
    fn validate_tree(&self) -> Result<(), String> {
        let mut led_to = BTreeSet::from([self.steps[0].name.as_str()]);
        for (at, step) in self.steps.iter().enumerate() {
            for (answer, branch) in [("yes", &step.yes), ("no", &step.no)] {
                let place = format!("steps.{}.{answer}", step.name);
                match branch {
                    Branch::Step(next) if self.steps[at + 1..].iter().any(|later| later.name == *next) => {
                        led_to.insert(next);
                    }
                    Branch::Step(next) => return Err(format!("{place}: there is no later step \"{next}\"")),
                    Branch::Cause(cause) if self.cause(cause).is_some() => {
                        led_to.insert(cause);
                    }
                    Branch::Cause(cause) => return Err(format!("{place}: there is no cause \"{cause}\"")),
                    Branch::NotThis(_) => {}
                }
            }
        }
        let names = self.steps.iter().map(|step| &step.name).chain(self.causes.iter().map(|cause| &cause.name));
        match names.into_iter().find(|name| !led_to.contains(name.as_str())) {
            Some(name) => Err(format!("nothing leads to \"{name}\"")),
            None => Ok(()),
        }
    }
}

fn unique<'a>(place: &str, names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(format!("{place}: \"{name}\" is there twice"));
        }
    }
    Ok(())
}

fn validate_cause(cause: &Cause) -> Result<(), String> {
    match (&cause.remedy, &cause.by_hand) {
        (Some(_), Some(_)) => return Err("remedy and by_hand exclude each other".to_owned()),
        (None, None) => return Err("a remedy or by_hand is needed".to_owned()),
        (None, Some(_)) if cause.verify.is_some() || cause.back.is_some() => {
            return Err("verify and back belong to a remedy".to_owned());
        }
        (None, Some(_)) => return Ok(()),
        (Some(Remedy::Restart(Unit::Agent)), None) => return Err("remedy: the agent is started by up".to_owned()),
        (Some(Remedy::Drain(Unit::Agent)), None) => return Err("remedy: the agent is never drained".to_owned()),
        (Some(Remedy::SmallerContext(Unit::Agent | Unit::Dsgate)), None) => {
            return Err("remedy: only a daemon has a context".to_owned());
        }
        (Some(_), None) => {}
    }
    match (&cause.verify, &cause.back) {
        (Some(verify), Some(_)) => validate_check(&verify.see).map_err(|message| format!("verify.see: {message}")),
        (None, _) => Err("verify: every remedy needs a verification".to_owned()),
        (_, None) => Err("back: every remedy needs a way back".to_owned()),
    }
}

fn validate_check(check: &Check) -> Result<(), String> {
    match check {
        Check::Status(check) if check.is.is_empty() => Err("status.is: at least one state is needed".to_owned()),
        Check::Log(check) if check.says.is_empty() => Err("log.says: at least one text is needed".to_owned()),
        Check::Log(LogCheck { unit: Unit::Agent, .. }) => {
            Err("log.unit: the agent's log is not looked into".to_owned())
        }
        Check::Phase(check) if check.is.is_empty() => Err("phase.is: at least one state is needed".to_owned()),
        Check::Rollout(check) if check.phase.is_empty() => Err("rollout.phase: at least one is needed".to_owned()),
        Check::Metric(check) => validate_metric(check).map_err(|message| format!("metric: {message}")),
        _ => Ok(()),
    }
}

fn validate_metric(check: &MetricCheck) -> Result<(), String> {
    let metric = check
        .source
        .metrics()
        .find(|metric| metric.name == check.name)
        .ok_or_else(|| format!("name: the {} has no metric \"{}\"", check.source.as_str(), check.name))?;
    let wanted = match check.read {
        Reading::Value => MetricKind::Gauge,
        Reading::Growth | Reading::Share => MetricKind::Counter,
        Reading::P95 => MetricKind::Histogram,
    };
    if metric.kind != wanted {
        return Err(format!("read: {} is a {:?}, {:?} reads a {wanted:?}", metric.name, metric.kind, check.read));
    }
    if let Some(label) =
        check.labels.keys().chain(check.of.keys()).find(|label| !metric.labels.contains(&label.as_str()))
    {
        return Err(format!("labels: {} has no label \"{label}\"", metric.name));
    }
    if check.window.is_none() != (check.read == Reading::Value) {
        return Err("window: needed by all readings but value".to_owned());
    }
    if !check.of.is_empty() && check.read != Reading::Share {
        return Err("of: belongs to share".to_owned());
    }
    if check.above.is_some() == check.below.is_some() {
        return Err("exactly one of above and below is needed".to_owned());
    }
    Ok(())
}
