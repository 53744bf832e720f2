//! The loops of a product over rows, strips and blocks, to be written out once for each set of instructions.
//!
//! A function has the instructions that its attribute names, and cannot be generic over them. What differs between the sets
//! is how whole numbers are added up, `four_bits` and `eight_bits` of the module that calls this; the sums are exact, so
//! that every set gives the same results to the last bit.

macro_rules! products {
    ($features:literal) => {
        /// Computes a task; only after `is_here`.
        pub fn run(task: &Task<'_>) {
            assert!(is_here(), "the processor does not have the instructions");
            // SAFETY: the processor has the instructions.
            unsafe {
                match task.weights.kind() {
                    WeightType::Q4_0 => rows::<Q4_0>(task),
                    WeightType::Q4_1 => rows::<Q4_1>(task),
                    WeightType::Q4K => rows::<Q4K>(task),
                    WeightType::Q6K => rows::<Q6K>(task),
                    WeightType::Q8_0 => rows::<Q8_0>(task),
                }
            }
        }

        /// The weights of the task stay in the second-level cache while all rows pass over them, four at a time.
        #[target_feature(enable = $features)]
        fn rows<L: Layout>(task: &Task<'_>) {
            let mut row = 0;
            while row < task.activations.computed() {
                match task.activations.computed() - row {
                    0..2 => row = strips::<L, 1>(task, row),
                    2..4 => row = strips::<L, 2>(task, row),
                    _ => row = strips::<L, 4>(task, row),
                }
            }
        }

        #[target_feature(enable = $features)]
        fn strips<L: Layout, const ROWS: usize>(task: &Task<'_>, first: usize) -> usize {
            let mut strip = task.strips.start;
            while strip < task.strips.end {
                if task.strips.end - strip >= 2 {
                    product::<L, ROWS, 2>(task, first, strip);
                    strip += 2;
                } else {
                    product::<L, ROWS, 1>(task, first, strip);
                    strip += 1;
                }
            }
            first + ROWS
        }

        /// Some rows times some strips, over all inputs.
        #[target_feature(enable = $features)]
        fn product<L: Layout, const ROWS: usize, const STRIPS: usize>(task: &Task<'_>, first: usize, strip: usize) {
            let weights: [&[u8]; STRIPS] = std::array::from_fn(|at| task.weights.strip(strip + at));
            let rows: [&[ActivationBlock]; ROWS] = std::array::from_fn(|at| task.activations.row(first + at));
            let mut totals = [[_mm256_setzero_ps(); STRIPS]; ROWS];
            for at in 0..task.activations.inputs() / BLOCK {
                // Loops, since a closure does not have the instructions of this function and would be called.
                let (mut tiles, mut blocks) = ([weights[0]; STRIPS], [&rows[0][at]; ROWS]);
                for (tile, strip) in tiles.iter_mut().zip(weights) {
                    *tile = &strip[L::KIND.place(at)..][..L::KIND.tile()];
                }
                for (block, row) in blocks.iter_mut().zip(rows) {
                    *block = &row[at];
                }
                let sums = whole_sums::<L, ROWS, STRIPS>(tiles, blocks);
                for column in 0..STRIPS {
                    let unit = &weights[column][at / L::KIND.tiles() * L::KIND.unit()..];
                    let (scale, minimum) = scales::<L>(unit, tiles[column]);
                    for row in 0..ROWS {
                        let total = &mut totals[row][column];
                        let scale = _mm256_mul_ps(scale, _mm256_set1_ps(blocks[row].scale));
                        *total = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(sums[row][column]), *total);
                        if has_minima(L::KIND) {
                            *total = _mm256_fmadd_ps(minimum, _mm256_set1_ps(blocks[row].sum), *total);
                        }
                    }
                }
            }
            for (row, totals) in totals.iter().enumerate() {
                for (column, total) in totals.iter().enumerate() {
                    task.output.write(first + row, (strip + column) * LANES, &floats(*total));
                }
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn whole_sums<L: Layout, const ROWS: usize, const STRIPS: usize>(
            tiles: [&[u8]; STRIPS],
            blocks: [&ActivationBlock; ROWS],
        ) -> Sums<ROWS, STRIPS> {
            match L::KIND {
                WeightType::Q4_0 | WeightType::Q4_1 | WeightType::Q4K => four_bits::<L, ROWS, STRIPS>(tiles, blocks),
                WeightType::Q6K => six_bits(tiles, blocks),
                WeightType::Q8_0 => eight_bits(tiles, blocks),
            }
        }
    };
}

pub(crate) use products;
