//! Measures permessage-deflate: bytes, time and memory, for JSON of three lengths.
//!
//! `cargo run --release -p sociable-protocol --example deflate`. `bench/deflate.mjs` measures the same messages with the `ws` package.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on fails")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use sociable_protocol::Frames;
use sociable_protocol::websocket::Decoder;
use sociable_protocol::websocket::deflate::{Agreement, ContextDeflater, Settings};

/// Rounds of which the best counts, and messages of a round.
const ROUNDS: usize = 7;
const MESSAGES: usize = 200;

fn main() {
    println!("| JSON | window | level | alone: bytes | µs | in context: bytes | µs | inflate alone µs |");
    println!("|---|---|---|---|---|---|---|---|");
    for size in [200, 1_000, 16_000] {
        for (bits, level) in [(15, 6), (15, 1), (12, 6), (9, 6)] {
            row(size, bits, level);
        }
    }
    println!("\n| window | compressor: bytes a connection | charged | inflater: bytes a connection |");
    println!("|---|---|---|---|");
    for bits in [15, 12, 9] {
        memory(bits);
    }
}

/// Returns JSON of at least this length, different for each `seed`.
fn json(size: usize, seed: u32) -> String {
    let mut text = String::from("[");
    let mut n = seed;
    while text.len() < size - 1 {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (id, x, y) = (n >> 12, (n >> 8) % 1_000, (n >> 16) % 1_000);
        text.push_str(&format!("{{\"id\":{id},\"user\":\"user-{}\",\"room\":\"red\",\"x\":{x},\"y\":{y},\"typing\":false}},", n >> 28));
    }
    text.truncate(size - 1);
    text + "]"
}

fn row(size: usize, bits: u8, level: u8) {
    let settings = Settings { threshold: 0, level, memory_level: 8 };
    let messages: Vec<_> = (0..MESSAGES as u32).map(|seed| Frames::text(&json(size, seed))).collect();
    let mean = |total: usize| total / MESSAGES;
    let mut alone = vec![];
    let alone_time = best(|| {
        alone = messages.iter().map(|frames| frames.deflated(&settings, bits, |_| {}).unwrap()).collect();
    });
    let mut in_context = 0;
    let context_time = best(|| {
        let mut context = ContextDeflater::new(&settings, bits);
        in_context = messages.iter().map(|frames| context.deflate(frames.as_bytes()).unwrap().len()).sum();
    });
    let agreement = Agreement {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        server_window_bits: bits,
        client_window_bits: bits,
    };
    let sent: Vec<_> = alone.iter().map(|frame| masked(frame)).collect();
    let inflate_time = best(|| {
        let mut decoder = Decoder::new(1 << 20).deflated(agreement);
        for frame in &sent {
            decoder.read(&mut frame.clone(), |message| drop(black_box(message))).unwrap();
        }
    });
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / MESSAGES as f64;
    println!(
        "| {size} B | {bits} | {level} | {} | {:.1} | {} | {:.1} | {:.1} |",
        mean(alone.iter().map(|frame| frame.len()).sum()),
        micros(alone_time),
        mean(in_context),
        micros(context_time),
        micros(inflate_time),
    );
}

fn best(mut work: impl FnMut()) -> Duration {
    let round = |_| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    };
    (0..ROUNDS).map(round).min().unwrap()
}

/// A short frame of the server as a client would send it.
fn masked(frame: &[u8]) -> Vec<u8> {
    let head = if frame[1] == 126 { 4 } else { 2 };
    let mut masked = frame[..head].to_vec();
    masked[1] |= 0x80;
    // A mask of zeros leaves the payload as it is.
    masked.extend([0; 4]);
    masked.extend_from_slice(&frame[head..]);
    masked
}

fn memory(bits: u8) {
    const CONNECTIONS: usize = 200;
    let settings = Settings { threshold: 0, level: 6, memory_level: 8 };
    let messages: Vec<_> = (0..50).map(|seed| Frames::text(&json(16_000, seed))).collect();
    let before = resident();
    let mut deflaters: Vec<_> = (0..CONNECTIONS).map(|_| ContextDeflater::new(&settings, bits)).collect();
    for deflater in &mut deflaters {
        messages.iter().for_each(|frames| drop(deflater.deflate(frames.as_bytes())));
    }
    let compressors = resident() - before;
    let sent: Vec<_> = {
        let mut deflater = ContextDeflater::new(&settings, bits);
        messages.iter().map(|frames| masked(&deflater.deflate(frames.as_bytes()).unwrap())).collect()
    };
    let agreement = Agreement {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_window_bits: bits,
        client_window_bits: bits,
    };
    let before = resident();
    let mut decoders: Vec<_> = (0..CONNECTIONS).map(|_| Decoder::new(1 << 20).deflated(agreement)).collect();
    for decoder in &mut decoders {
        for frame in &sent {
            decoder.read(&mut frame.clone(), |message| drop(black_box(message))).unwrap();
        }
    }
    let inflaters = resident() - before;
    println!("| {bits} | {} | {} | {} |", compressors / CONNECTIONS, ContextDeflater::bytes(&settings, bits), inflaters / CONNECTIONS);
    drop((deflaters, decoders));
}

/// Returns the resident memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
