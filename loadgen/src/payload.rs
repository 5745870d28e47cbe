//! Events, made before the clock runs.

use crate::args::{Keys, Payload, PayloadArgs};
use crate::error::Error;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

#[cfg(test)]
mod tests;

/// Keys are drawn beforehand, so many; then they repeat.
const DRAWS: usize = 1 << 20;

/// Bytes that random values are cut from.
const RANDOM_BYTES: usize = 4 << 20;

/// Digits of a key after its letter.
const KEY_DIGITS: usize = 9;

/// Room for the number of an event.
const NUMBER_WIDTH: usize = 12;

/// Marks the number in a JSON event.
const NUMBER_MARK: &[u8] = b"\"seq\":";

/// Makes event `n`, for any `n`.
#[derive(Debug)]
pub(crate) struct Events {
    shape: Shape,
    draws: Option<Vec<u32>>,
}

#[derive(Debug)]
enum Shape {
    Json { template: Vec<u8>, key_at: usize, number_at: usize },
    Random { bytes: Vec<u8>, size: usize },
}

/// Room for one event, used again and again.
#[derive(Debug, Default)]
pub(crate) struct EventBuffer {
    value: Vec<u8>,
    key: [u8; KEY_DIGITS + 1],
}

impl Events {
    pub(crate) fn new(args: &PayloadArgs) -> Result<Self, Error> {
        let mut rng = SmallRng::seed_from_u64(0x616e_6162_7261_6e63);
        if args.keys != Keys::None && !(1..=999_999_999).contains(&args.key_space) {
            return Err(Error::Usage("--key-space is between 1 and 999999999".to_owned()));
        }
        let draws = match args.keys {
            Keys::None => None,
            Keys::Uniform => {
                Some((0..DRAWS).map(|_| rng.random_range(0..args.key_space)).collect())
            }
            Keys::Zipf => {
                let zipf = Zipf::new(args.key_space);
                Some((0..DRAWS).map(|_| zipf.draw(&mut rng)).collect())
            }
        };
        let shape = match args.payload {
            Payload::Json => json(args.size)?,
            Payload::Random => {
                let mut bytes = vec![0; RANDOM_BYTES.max(args.size * 2)];
                rng.fill_bytes(&mut bytes);
                Shape::Random { bytes, size: args.size }
            }
        };
        Ok(Self { shape, draws })
    }

    /// The number of event `n`'s key, if it has one.
    pub(crate) fn key_number(&self, n: u64) -> Option<u32> {
        self.draws.as_ref().map(|draws| draws[n as usize % DRAWS])
    }

    /// Key and value of event `n`.
    pub(crate) fn event<'a>(
        &'a self,
        n: u64,
        buffer: &'a mut EventBuffer,
    ) -> (Option<&'a [u8]>, &'a [u8]) {
        let key = self.key_number(n);
        if let Some(key) = key {
            put_key(&mut buffer.key, key);
        }
        let value = match &self.shape {
            Shape::Random { bytes, size } => {
                // A step that shares no factor with the span visits every place.
                let at = (n as usize).wrapping_mul(257) % (bytes.len() - size);
                &bytes[at..at + size]
            }
            Shape::Json { template, key_at, number_at } => {
                buffer.value.clear();
                buffer.value.extend_from_slice(template);
                match key {
                    Some(_) => {
                        buffer.value[*key_at..=key_at + KEY_DIGITS].copy_from_slice(&buffer.key);
                    }
                    None => {
                        let id = (n % 1_000_000_000) as u32;
                        put_key(&mut buffer.value[*key_at..=key_at + KEY_DIGITS], id);
                    }
                }
                put_number(&mut buffer.value[*number_at..number_at + NUMBER_WIDTH], n);
                &buffer.value[..]
            }
        };
        (key.map(|_| &buffer.key[..]), value)
    }
}

/// The text of a key.
pub(crate) fn key_text(key: u32) -> String {
    format!("k{key:0KEY_DIGITS$}")
}

/// The number of a JSON event, found without parsing the rest.
pub(crate) fn number_in(value: &[u8]) -> Option<u64> {
    let at = value.windows(NUMBER_MARK.len()).position(|window| window == NUMBER_MARK)?;
    let rest = &value[at + NUMBER_MARK.len()..];
    let digits = rest.iter().skip_while(|byte| **byte == b' ');
    let mut number = None;
    for digit in digits.take_while(|byte| byte.is_ascii_digit()) {
        number = Some(number.unwrap_or(0) * 10 + u64::from(digit - b'0'));
    }
    number
}

/// A reading of a device, filled up to `size` bytes.
fn json(size: usize) -> Result<Shape, Error> {
    let zeros = "0".repeat(KEY_DIGITS);
    let spaces = " ".repeat(NUMBER_WIDTH);
    let head = format!("{{\"id\":\"k{zeros}\",\"seq\":{spaces},\"temp\":21.53,\"ok\":true");
    let bare = head.len() + 1;
    let padded = head.len() + ",\"note\":\"\"}".len();
    let text = if size == bare {
        format!("{head}}}")
    } else if size >= padded {
        format!("{head},\"note\":\"{}\"}}", note(size - padded))
    } else {
        let why = format!(
            "--size of a JSON event is {bare}, or {padded} and more; --payload random takes any"
        );
        return Err(Error::Usage(why));
    };
    let template = text.into_bytes();
    assert_eq!(template.len(), size, "the event has the size asked for");
    let mark = NUMBER_MARK;
    let number_at = template.windows(mark.len()).position(|window| window == mark);
    let number_at = number_at.expect("the template holds the mark") + mark.len();
    Ok(Shape::Json { template, key_at: "{\"id\":\"".len(), number_at })
}

/// Text of `length` letters that compresses about as well as text does.
fn note(length: usize) -> String {
    const WORDS: &[&str] = &["pump ", "valve ", "north ", "steady ", "check ", "ok ", "rising "];
    let mut rng = SmallRng::seed_from_u64(7);
    let mut text = String::with_capacity(length + 8);
    while text.len() < length {
        text.push_str(WORDS[rng.random_range(0..WORDS.len())]);
    }
    text.truncate(length);
    text
}

fn put_key(out: &mut [u8], key: u32) {
    let (letter, digits) = out.split_first_mut().expect("a key has a letter");
    *letter = b'k';
    let mut rest = key;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// The number, right-aligned among spaces: JSON allows those, but no leading zeros.
fn put_number(out: &mut [u8], number: u64) {
    out.fill(b' ');
    let mut rest = number;
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return;
        }
    }
}

/// Zipf's law by Gray's method (SIGMOD 1994), as YCSB draws keys; ranks are scattered over the
/// key space so that frequent keys are not neighbours.
#[derive(Debug)]
struct Zipf {
    keys: f64,
    theta: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    fn new(keys: u32) -> Self {
        let theta = 0.99;
        let zeta_of =
            |count: u32| (1..=count).map(|rank| f64::from(rank).powf(-theta)).sum::<f64>();
        let zeta = zeta_of(keys);
        let keys = f64::from(keys);
        let eta = (1.0 - (2.0 / keys).powf(1.0 - theta)) / (1.0 - zeta_of(2) / zeta);
        Self { keys, theta, alpha: 1.0 / (1.0 - theta), zeta, eta }
    }

    /// A rank from 0, the most frequent.
    fn rank(&self, uniform: f64) -> u32 {
        let scaled = uniform * self.zeta;
        if scaled < 1.0 || self.keys < 2.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(self.theta) {
            return 1;
        }
        let rank = self.keys * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        rank.min(self.keys - 1.0).max(0.0) as u32
    }

    fn draw(&self, rng: &mut SmallRng) -> u32 {
        let rank = u64::from(self.rank(rng.random::<f64>()));
        // Multiplication by a large odd number, then into the key space.
        let scattered = (rank + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (scattered % self.keys as u64) as u32
    }
}
