//! Mutations of seeds, the same in every run.

use fastrand::Rng;

/// Longest input that is made.
const LONGEST: usize = 16 * 1024;

/// Bytes that mean something to some reader.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b"\xff",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b"[[[[[[[[",
    b"null",
    b"NaN",
    b"-",
    b"0",
    b"-1",
    b"1e999",
    b"0.1",
    b"9223372036854775808",
    b"18446744073709551616",
    b"ffffffffffffffff",
    b"content-length: 1\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: close, te\r\n",
    b"host: x\r\n",
    b"data: ",
    b"event: x\n",
    b"[DONE]",
    b"\"model\":\"m\"",
    b"\"data\":[1]",
    b"\"shape\":[1]",
    b"\xc3\xa4",
    b"\xef\xbb\xbf",
    b"%00",
    b"%",
    b"../",
    b"&a",
    b"*a",
    b"!!str",
    b"- ",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\x00\x00\x00\x00\x05",
    b"\xff\xff\xff\xff",
    b"\x1f\x8b\x08\x00",
];

/// Makes inputs out of seeds.
pub struct Mutator {
    random: Rng,
    seeds: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(name: &str, seeds: Vec<Vec<u8>>) -> Self {
        let seed = name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        Self { random: Rng::with_seed(seed), seeds }
    }

    fn seed(&mut self) -> Vec<u8> {
        let at = self.random.usize(..self.seeds.len());
        self.seeds[at].clone()
    }

    /// The next input.
    pub fn next(&mut self) -> Vec<u8> {
        let mut input = self.seed();
        for _ in 0..1 << self.random.u8(0..4) {
            self.mutate(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.random.usize(..=input.len());
        let room = input.len() - at;
        let most = 1 << self.random.u8(0..8);
        let length = self.random.usize(..=room.min(most));
        match self.random.u8(0..9) {
            0 if room > 0 => input[at] ^= 1 << self.random.u8(0..8),
            1 if room > 0 => input[at] = self.random.u8(..),
            2 => _ = input.drain(at..at + length),
            3 => {
                let again = input[at..at + length].to_vec();
                input.splice(at..at, again);
            }
            4 => input.truncate(at),
            5 => {
                // The beginning of one and the end of another.
                let other = self.seed();
                let from = self.random.usize(..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            6 => {
                let from = self.random.usize(..=input.len());
                let moved = input[from..(from + length).min(input.len())].to_vec();
                input.splice(at..at, moved);
            }
            _ => {
                let word = WORDS[self.random.usize(..WORDS.len())];
                let end = if self.random.bool() { at } else { at + length };
                input.splice(at..end, word.iter().copied());
            }
        }
    }
}
