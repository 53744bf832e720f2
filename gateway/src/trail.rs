//! What a rollout's gates said over time, for the page: a sample now and then, bounded, in memory. The journal has what counts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use spec::amount::Weight;
use spec::rollout::RolloutReport;

use crate::control::Control;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// When there are more, every other one goes, and half as many come from then on.
const MOST: usize = 1_000;

/// One look at one rollout.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    pub at: Timestamp,
    pub weight: Weight,
    pub gates: Vec<Option<f64>>,
}

/// Of the last rollout.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Points {
    pub rollout: String,
    /// As in the rollout file; [`Point::gates`] has a value for each, none without samples.
    pub gates: Vec<String>,
    pub points: Vec<Point>,
}

#[derive(Debug, Default)]
pub struct Trail {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    points: Points,
    /// Looks until the next one counts.
    every: u64,
    looks: u64,
}

impl Default for Kept {
    fn default() -> Self {
        Self { points: Points::default(), every: 1, looks: 0 }
    }
}

impl Trail {
    pub fn points(&self) -> Points {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).points.clone()
    }

    /// A rollout that is over is looked at once more, for its end.
    fn take(&self, report: &RolloutReport, now: Timestamp) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.points.rollout != report.id {
            let gates = report.spec.gates.iter().map(ToString::to_string).collect();
            *kept =
                Kept { points: Points { rollout: report.id.clone(), gates, points: Vec::new() }, ..Kept::default() };
        }
        let at = report.ended_at.unwrap_or(now);
        let last = kept.points.points.last();
        if last.is_some_and(|last| last.at >= at) {
            return;
        }
        let has_moved = last.is_none_or(|last| last.weight != report.weight);
        kept.looks += 1;
        if has_moved || report.ended_at.is_some() || kept.looks.is_multiple_of(kept.every) {
            let gates = report.gates.iter().map(|gate| gate.observed).collect();
            kept.points.points.push(Point { at, weight: report.weight, gates });
        }
        if kept.points.points.len() > MOST {
            let mut number = 0;
            kept.points.points.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            kept.every *= 2;
        }
    }
}

/// Until the process ends.
pub async fn follow(control: Arc<Control>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(report) = control.carrier.report() {
            control.trail.take(&report, Timestamp::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use spec::rollout::{GateReport, RolloutPhase, RolloutSpec, Verdict};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn report(id: &str, weight: usize, observed: f64) -> RolloutReport {
        let spec = RolloutSpec::default();
        let gate = |gate: &spec::rollout::Gate| {
            serde_json::from_value::<GateReport>(serde_json::json!({"gate": gate, "samples": 1, "observed": observed,
                "verdict": "hold", "reason": ""}))
            .unwrap()
        };
        serde_json::from_value(serde_json::json!({"id": id, "phase": RolloutPhase::Baking, "stage": weight,
            "weight": spec.stages[weight], "started_at": at(0), "stage_since": at(0), "ended_at": null,
            "gates": spec.gates.iter().map(gate).collect::<Vec<_>>(), "verdict": Verdict::Hold, "reason": "", "spec": spec}))
        .unwrap()
    }

    #[test]
    fn each_look_is_a_point_until_the_rollout_is_over() {
        let trail = Trail::default();
        trail.take(&report("a", 0, 0.1), at(1));
        trail.take(&report("a", 1, 0.2), at(2));
        let over = RolloutReport { ended_at: Some(at(3)), ..report("a", 1, 0.3) };
        trail.take(&over, at(4));
        trail.take(&over, at(5));
        let points = trail.points();
        assert_eq!(points.points.iter().map(|point| point.at).collect::<Vec<_>>(), [at(1), at(2), at(3)]);
        assert_eq!((points.gates.len(), points.points[2].gates[0]), (2, Some(0.3)));
        trail.take(&report("b", 0, 0.1), at(9));
        assert_eq!((trail.points().rollout.as_str(), trail.points().points.len()), ("b", 1));
    }

    /// However long it takes, there are no more than so many points, in order, from the first to the last.
    #[test]
    fn a_long_rollout_keeps_its_shape_in_little_room() {
        let trail = Trail::default();
        for second in 1..20_000 {
            trail.take(&report("a", 0, 0.1), at(second));
        }
        let points = trail.points().points;
        assert!(points.len() <= MOST && points.len() > MOST / 4, "{}", points.len());
        assert!(points.is_sorted_by_key(|point| point.at));
        assert!(points[0].at == at(1) && points[points.len() - 1].at > at(19_900));
    }
}
