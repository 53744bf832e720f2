//! The product of all rows with all weights, cut into tasks for the pool.
#![expect(unsafe_code, reason = "several threads write different columns of one result")]

use std::marker::PhantomData;
use std::ops::Range;

use crate::layout::LANES;
use crate::{Activations, PackedWeights, Pool, ShapeError, portable};

/// Weights of a task: with the inputs and outputs beside them they stay in a second-level cache.
const TASK_BYTES: usize = 128 * 1024;
/// Tasks a thread, at least: a thread that loses its core holds the others up by one task.
const TASKS_EACH: usize = 4;

/// Some strips of the weights, for all rows.
#[derive(Debug)]
pub struct Task<'a> {
    pub weights: &'a PackedWeights,
    pub activations: &'a Activations,
    pub output: &'a Output<'a>,
    pub strips: Range<usize>,
}

/// `x W^T`: one row of outputs after the other.
pub fn multiply(weights: &PackedWeights, activations: &Activations, pool: &Pool) -> Result<Vec<f32>, ShapeError> {
    #[cfg(target_arch = "x86_64")]
    if crate::vnni::is_here() {
        return compute(weights, activations, pool, crate::vnni::run);
    }
    #[cfg(target_arch = "x86_64")]
    if crate::avx2::is_here() {
        return compute(weights, activations, pool, crate::avx2::run);
    }
    compute(weights, activations, pool, run_portable)
}

pub(crate) fn compute(
    weights: &PackedWeights,
    activations: &Activations,
    pool: &Pool,
    run: fn(&Task<'_>),
) -> Result<Vec<f32>, ShapeError> {
    let (inputs, width) = (weights.inputs(), activations.inputs());
    if inputs != width {
        return Err(ShapeError::Width { weights: inputs, activations: width });
    }
    let mut values = vec![0.0; activations.computed() * weights.outputs()];
    let output = Output::new(&mut values, weights.outputs());
    let each = strips_of_a_task(weights, pool.threads());
    pool.run(weights.strips().div_ceil(each), &|at| {
        let strips = at * each..weights.strips().min((at + 1) * each);
        run(&Task { weights, activations, output: &output, strips });
    });
    add_left_over(&mut values, activations, weights.outputs());
    Ok(values)
}

/// Even, since two strips are computed together.
fn strips_of_a_task(weights: &PackedWeights, threads: usize) -> usize {
    let in_cache = TASK_BYTES / weights.width().max(1);
    let for_all = weights.strips() / (threads * TASKS_EACH);
    in_cache.min(for_all).max(2).next_multiple_of(2)
}

fn add_left_over(values: &mut Vec<f32>, activations: &Activations, outputs: usize) {
    let (rows, left_over) = values.split_at_mut(activations.rows() * outputs);
    for (value, more) in rows.iter_mut().zip(&left_over[..activations.exact() * outputs]) {
        *value += more;
    }
    values.truncate(activations.rows() * outputs);
}

pub(crate) fn run_portable(task: &Task<'_>) {
    for row in 0..task.activations.computed() {
        for strip in task.strips.clone() {
            let floats = portable::product(task.weights.kind(), task.weights.strip(strip), task.activations.row(row));
            task.output.write(row, strip * LANES, &floats);
        }
    }
}

/// The result, of which each task writes its own columns.
#[derive(Debug)]
pub struct Output<'a> {
    start: *mut f32,
    length: usize,
    columns: usize,
    values: PhantomData<&'a mut [f32]>,
}

// SAFETY: `write` touches some columns of a row. Here each strip belongs to one task, in `attention` each head of each row,
// and a task to one thread.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    pub fn new(values: &'a mut [f32], columns: usize) -> Self {
        Self { start: values.as_mut_ptr(), length: values.len(), columns, values: PhantomData }
    }

    /// Puts outputs of one row in their place, without those beyond the last column.
    pub fn write(&self, row: usize, column: usize, outputs: &[f32]) {
        let count = outputs.len().min(self.columns - column);
        let at = row * self.columns + column;
        assert!(at + count <= self.length);
        // SAFETY: inside the slice that `values` borrows, and no other thread writes or reads there meanwhile.
        unsafe { std::ptr::copy_nonoverlapping(outputs.as_ptr(), self.start.add(at), count) };
    }
}
