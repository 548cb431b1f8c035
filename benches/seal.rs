//! The cost of sealing, beside the floor and beside josekit, as ratios within one run.
//!
//!     cargo bench --bench seal [-- --quick]
//!
//! Each round measures every sealer once, so that other work on the machine affects all of them. A ratio is formed
//! within a round; the table shows the median of all rounds. Every sealer's message is opened first.

#![allow(clippy::print_stdout, reason = "it prints a table")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that fails panics")]

mod common;

use std::hint::black_box;

use bytes::Bytes;
use josekit::jwe::{self, JweHeader};
use jwe_gateway::jose::{self, EncryptionKey, Plaintext};

use common::floor::Floor;
use common::key::{KID, KeyPair};
use common::{Spread, letter, thread_cpu};

const SIZES: [(&str, usize); 5] =
    [("256 B", 256), ("1 KiB", 1 << 10), ("16 KiB", 16 << 10), ("256 KiB", 256 << 10), ("10 MiB", 10 << 20)];

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, octets_per_round) = if quick { (3, 1 << 20) } else { (15, 24 << 20) };
    let _ = common::cores().and_then(|cores| common::pin(cores[0]));

    let keys = KeyPair::generate();
    println!("CPU per message in us, medians of {rounds} rounds; ratios are medians of the ratios within a round\n");
    println!(
        "{:<8} {:>9} {:>9} {:>9} {:>12} {:>6} {:>12} {:>6}",
        "body", "gateway", "floor", "josekit", "over floor", "goal", "over josekit", "goal"
    );
    for (name, octets) in SIZES {
        let row = Row::measure(&keys, octets, rounds, octets_per_round);
        let floor_goal = if octets < 1 << 10 { "1.25" } else { "1.15" };
        let josekit_goal = if octets == 1 << 10 { "0.60" } else { "" };
        println!(
            "{name:<8} {:>9.1} {:>9.1} {:>9.1} {:>12.2} {floor_goal:>6} {:>12.2} {josekit_goal:>6}",
            row.ours, row.floor, row.josekit, row.over_floor, row.over_josekit,
        );
    }
}

struct Row {
    ours: f64,
    floor: f64,
    josekit: f64,
    over_floor: f64,
    over_josekit: f64,
}

impl Row {
    fn measure(keys: &KeyPair, octets: usize, rounds: usize, octets_per_round: usize) -> Self {
        let body = letter(octets);
        let ours = Ours::new(keys, &body);
        let mut floors = Floor::all(&keys.public);
        let josekit = || jwe::serialize_compact(&body, &josekit_header(), &keys.encrypter).expect("josekit seals");

        assert_eq!(keys.open(&ours.message()).as_ref(), Ok(&body));
        assert_eq!(keys.open(josekit().as_bytes()).as_ref(), Ok(&body));
        for floor in &mut floors {
            assert_eq!(keys.open(&floor.message(&body)).as_ref(), Ok(&body));
        }

        // Small bodies cost at least as much as 4 KiB, because of the key wrap.
        let messages = (octets_per_round / octets.max(4096)).max(1);
        let mut measured = Vec::new();
        for _ in 0..rounds {
            let ours = cpu(messages, || ours.seal());
            // The fastest library on this machine is the floor.
            let floor = floors.iter_mut().map(|floor| cpu(messages, || floor.seal(&body, |part| _ = black_box(part))));
            let floor = floor.fold(f64::INFINITY, f64::min);
            let josekit = cpu(messages, || _ = black_box(josekit()));
            measured.push((ours, floor, josekit));
        }
        let median =
            |of: fn(&(f64, f64, f64)) -> f64| Spread::of(measured.iter().map(of)).expect("there are rounds").median;
        Self {
            ours: median(|round| round.0),
            floor: median(|round| round.1),
            josekit: median(|round| round.2),
            over_floor: median(|round| round.0 / round.1),
            over_josekit: median(|round| round.0 / round.2),
        }
    }
}

/// The gateway's own sealing, without the check that a body is JSON.
struct Ours {
    key: EncryptionKey,
    plaintext: Plaintext,
}

impl Ours {
    fn new(keys: &KeyPair, body: &[u8]) -> Self {
        let key = EncryptionKey::from_jwk(&keys.public).expect("a fresh key is accepted");
        let plaintext = Plaintext::json(Bytes::copy_from_slice(body)).expect("a letter is JSON");
        Self { key, plaintext }
    }

    fn seal(&self) {
        for chunk in jose::seal(&self.plaintext, &self.key).expect("a fresh key seals").into_chunks() {
            black_box(chunk.expect("a fresh key seals"));
        }
    }

    fn message(&self) -> Vec<u8> {
        jose::seal(&self.plaintext, &self.key).and_then(|message| message.into_bytes()).expect("a fresh key seals")
    }
}

fn josekit_header() -> JweHeader {
    let mut header = JweHeader::new();
    header.set_content_encryption("A256CBC-HS512");
    header.set_token_type("JWE");
    header.set_key_id(KID);
    header
}

/// The CPU time of one call in microseconds, as the mean of `calls`.
fn cpu(calls: usize, mut call: impl FnMut()) -> f64 {
    let before = thread_cpu();
    for _ in 0..calls {
        call();
    }
    let spent = thread_cpu() - before;
    spent.as_secs_f64() * 1e6 / calls as f64
}
