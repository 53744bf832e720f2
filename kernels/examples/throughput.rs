//! Billions of operations a second of each type on one thread or more: `cargo run --release -p kernels --example throughput [THREADS]`.
//! An operation is a multiplication or an addition; the rounding of the inputs is part of the time. With one thread the time
//! is what the thread spent on a core, where the system says so, so that other processes do not count.
#![expect(clippy::print_stdout, reason = "a table for the reader")]

use std::time::{Duration, Instant};

use kernels::{Activations, PackedWeights, Pool, ShapeError, WeightType, multiply};

/// The shape of a feed-forward matrix of R1-Distill-Qwen-1.5B.
const OUTPUTS: usize = 8960;
const INPUTS: usize = 1536;
const LONG_ENOUGH: Duration = Duration::from_millis(700);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads = std::env::args().nth(1).map_or(Ok(1), |count| count.parse())?;
    let pool = Pool::new(threads);
    println!("{OUTPUTS} x {INPUTS}, threads: {}", pool.threads());
    for kind in WeightType::ALL {
        let blocks = OUTPUTS * INPUTS / kind.stored_weights();
        let stored: Vec<u8> = (0..blocks * kind.stored_bytes()).map(|at| (at * 37 % 113) as u8).collect();
        let weights = PackedWeights::pack(kind, OUTPUTS, INPUTS, &stored)?;
        for rows in [1, 8, 128] {
            let seconds = mean(&weights, rows, &pool)?;
            let operations = 2.0 * (rows * OUTPUTS * INPUTS) as f64 / seconds / 1e9;
            let read = kind.packed_bytes(OUTPUTS, INPUTS) as f64 / seconds / 1e9;
            println!("{kind:?}\trows {rows:>3}\t{operations:>6.1} GOP/s\tweights {read:>5.2} GB/s");
        }
    }
    Ok(())
}

fn mean(weights: &PackedWeights, rows: usize, pool: &Pool) -> Result<f64, ShapeError> {
    let values: Vec<f32> = (0..rows * INPUTS).map(|at| (at * 37 % 101) as f32 / 50.0 - 1.0).collect();
    let (start, own) = (Instant::now(), own_seconds());
    let mut times = 0;
    while times < 5 || start.elapsed() < LONG_ENOUGH {
        let activations = Activations::quantize(&values, INPUTS, 0)?;
        std::hint::black_box(multiply(weights, &activations, pool)?);
        times += 1;
    }
    let own = own.and_then(|before| Some(own_seconds()? - before)).filter(|_| pool.threads() == 1);
    Ok(own.unwrap_or_else(|| start.elapsed().as_secs_f64()) / f64::from(times))
}

/// What this thread has spent on a core.
fn own_seconds() -> Option<f64> {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(line.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}
