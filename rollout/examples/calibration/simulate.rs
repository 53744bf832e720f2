//! Many rollouts of a scene, all methods on the same answers.

use rollout::statistics::chance::Chance;

use super::method::{Method, all};
use super::traffic::{LOOKS, Scene};

/// What came of a method in all runs.
#[derive(Debug, Clone, Default)]
pub struct Outcomes {
    pub runs: usize,
    /// The candidate's answers until each rollback.
    pub answers: Vec<u64>,
}

impl Outcomes {
    pub fn share(&self) -> f64 {
        self.answers.len() as f64 / self.runs as f64
    }

    /// Of the runs that were rolled back.
    pub fn median_answers(&self) -> Option<u64> {
        let mut sorted = self.answers.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

pub fn simulate(scene: &Scene, runs: usize, seed: u64) -> Vec<Outcomes> {
    let mut outcomes = vec![Outcomes { runs, ..Outcomes::default() }; all(scene).len()];
    for run in 0..runs as u64 {
        let caught = run_once(scene, &mut Chance(seed ^ (run << 20)));
        for (outcome, answers) in outcomes.iter_mut().zip(caught) {
            outcome.answers.extend(answers);
        }
    }
    outcomes
}

/// The candidate's answers until each method rolled back; none where it never did.
fn run_once(scene: &Scene, chance: &mut Chance) -> Vec<Option<u64>> {
    let mut methods = all(scene);
    let mut caught = vec![None; methods.len()];
    let mut candidate_answers = 0;
    for request in 0..LOOKS * scene.requests_per_look {
        let answer = scene.answer(request, chance);
        candidate_answers += u64::from(answer.is_candidate);
        let is_look = (request + 1) % scene.requests_per_look == 0;
        for (method, caught) in methods.iter_mut().zip(&mut caught) {
            look(method.as_mut(), caught, &answer, is_look.then_some(candidate_answers));
        }
    }
    caught
}

fn look(method: &mut dyn Method, caught: &mut Option<u64>, answer: &super::traffic::Answer, at: Option<u64>) {
    if caught.is_none() {
        method.see(answer);
        *caught = at.filter(|_| method.look());
    }
}
