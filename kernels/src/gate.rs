//! The gate between the two halves of a feed-forward layer: `silu(gate) * up`.

use std::sync::Mutex;

use crate::Pool;
use crate::exponential::exp;

/// Values of a task.
const TASK: usize = 4096;

/// Puts the products in place of `gate`.
pub fn gate(gate: &mut [f32], up: &[f32], pool: &Pool) {
    let pieces: Vec<Mutex<(&mut [f32], &[f32])>> = gate.chunks_mut(TASK).zip(up.chunks(TASK)).map(Mutex::new).collect();
    pool.run(pieces.len(), &|at| {
        // Each piece is locked once, so that no lock is ever waited for or poisoned.
        if let Ok(mut piece) = pieces[at].lock() {
            let (gate, up) = &mut *piece;
            run_here(gate, up);
        }
    });
}

fn run_here(gate: &mut [f32], up: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    if crate::avx2::is_here() {
        return crate::avx2::gate(gate, up);
    }
    run(gate, up);
}

/// To be compiled once for each set of instructions.
#[inline(always)]
pub fn run(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_instructions_and_threads_give_the_same() {
        let at = |step: f32| (0..3 * TASK + 5).map(move |at| (at as f32 * step).sin() * 20.0).collect::<Vec<_>>();
        let (mut gates, ups) = (at(0.37), at(0.11));
        let mut plain = gates.clone();
        for ((plain, gate), up) in plain.iter_mut().zip(&gates).zip(&ups) {
            *plain = gate / (1.0 + (-gate).exp()) * up;
        }
        let mut portable = gates.clone();
        run(&mut portable, &ups);
        gate(&mut gates, &ups, &Pool::new(3));
        assert_eq!(gates, portable);
        assert!(gates.iter().zip(&plain).all(|(found, plain)| (found - plain).abs() <= 1e-6 + plain.abs() * 1e-6));
    }
}
