//! Messages compressed and inflated: between the two directions, and against other implementations.

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;
use zlib_rs::{Inflate, InflateFlush};

use super::*;
use crate::websocket::header::raw_frames;
use crate::websocket::{FrameError, Frames, FramesBuilder, Payload};

const SETTINGS: Settings = Settings { threshold: 0, level: 6, memory_level: 8 };
const LIMIT: usize = 1 << 20;

fn agreement(client_no_context_takeover: bool, bits: u8) -> Agreement {
    Agreement { server_no_context_takeover: true, client_no_context_takeover, server_window_bits: bits, client_window_bits: bits }
}

/// Text in which something repeats at every distance.
fn text(length: usize) -> String {
    let mut text = String::new();
    let mut n = 7_u32;
    while text.len() < length {
        n = n.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        text.push_str(&format!("{{\"id\":{},\"room\":\"red\"}},", n >> 20));
    }
    text.truncate(length);
    text
}

/// A client that reads with just the window that it asked for: it takes one byte at a time, so that all references go to the window.
struct Client {
    inflate: Inflate,
    alone: bool,
    bits: u8,
}

impl Client {
    fn new(alone: bool, bits: u8) -> Self {
        Self { inflate: Inflate::new(false, bits), alone, bits }
    }

    /// Returns the payloads, and whether each was compressed.
    fn read(&mut self, frames: &[u8]) -> Vec<(Vec<u8>, bool)> {
        let mut rest = frames;
        let mut read = vec![];
        while !rest.is_empty() {
            let compressed = rest[0] & 0x40 != 0;
            let mut plain = rest.to_vec();
            plain[0] &= !0x40;
            let frame = raw_frames(&plain).next().expect("a frame");
            read.push((if compressed { self.inflate(frame.payload) } else { frame.payload.to_vec() }, compressed));
            rest = &rest[frame.whole.len()..];
        }
        read
    }

    fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        if self.alone {
            self.inflate = Inflate::new(false, self.bits);
        }
        let (input, mut used, mut out) = ([payload, &TRAILER].concat(), 0, vec![]);
        loop {
            let mut byte = [0];
            let before = (self.inflate.total_in(), self.inflate.total_out());
            self.inflate.decompress(&input[used..], &mut byte, InflateFlush::SyncFlush).expect("within the window");
            used += (self.inflate.total_in() - before.0) as usize;
            match self.inflate.total_out() - before.1 {
                0 if used == input.len() => return out,
                made => out.extend_from_slice(&byte[..made as usize]),
            }
        }
    }
}

/// A message of a client, compressed by another implementation.
fn by_flate2(compress: &mut Compress, payload: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() * 2 + 100);
    compress.compress_vec(payload, &mut out, flush).unwrap();
    out
}

fn sync(compress: &mut Compress, payload: &[u8]) -> Vec<u8> {
    let mut out = by_flate2(compress, payload, FlushCompress::Sync);
    assert!(out.ends_with(&TRAILER));
    out.truncate(out.len() - 4);
    out
}

#[test]
fn message_is_read_back_by_every_window() {
    for bits in 8..=15 {
        for length in [1, 255, 256, 257, 5_000, 100_000] {
            let plain = text(length);
            let frames = Frames::text(&plain);
            let deflated = frames.deflated(&SETTINGS, bits, |_| {}).unwrap_or_else(|| frames.as_bytes().clone());
            assert_eq!(Client::new(true, bits).read(&deflated)[0].0, plain.as_bytes(), "{bits} {length}");
        }
    }
}

#[test]
fn context_is_read_back_by_every_window() {
    for bits in 8..=15 {
        let (mut deflater, mut client) = (ContextDeflater::new(&SETTINGS, bits), Client::new(false, bits));
        for length in [300, 0, 40_000, 300, 1] {
            let plain = text(length);
            let deflated = deflater.deflate(Frames::text(&plain).as_bytes()).unwrap();
            assert_eq!(client.read(&deflated), [(plain.into_bytes(), true)], "{bits} {length}");
        }
    }
}

#[test]
fn context_makes_repeated_messages_short() {
    let mut deflater = ContextDeflater::new(&SETTINGS, 15);
    let frames = Frames::text(&text(400));
    let first = deflater.deflate(frames.as_bytes()).unwrap().len();
    assert!(deflater.deflate(frames.as_bytes()).unwrap().len() * 5 < first);
}

#[test]
fn broadcast_between_messages_breaks_the_context() {
    let (mut deflater, mut client) = (ContextDeflater::new(&SETTINGS, 15), Client::new(false, 15));
    let own = Frames::text(&text(3_000));
    let broadcast = Frames::text(&text(9_000)).sharing();
    for _ in 0..3 {
        assert_eq!(client.read(&deflater.deflate(own.as_bytes()).unwrap())[0].0.len(), 3_000);
        assert_eq!(client.read(&broadcast.deflated(&SETTINGS, 15, |_| {}).unwrap())[0].0.len(), 9_000);
        deflater.break_context();
    }
}

#[test]
fn shared_frames_are_compressed_once() {
    let frames = Frames::text(&text(2_000)).sharing();
    let mut runs = 0;
    for bits in [15, 15, 12, 11] {
        assert!(frames.clone().deflated(&SETTINGS, bits, |_| runs += 1).is_some());
    }
    assert_eq!(runs, 1, "the message fits into all of these windows");
    assert!(frames.deflated(&SETTINGS, 10, |_| runs += 1).is_some());
    assert_eq!(runs, 2, "a smaller window needs its own form");
}

#[test]
fn frame_stays_plain_when_it_does_not_get_shorter() {
    let next = |seed: &u32| Some(seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let noise: Vec<u8> = std::iter::successors(Some(1_u32), next).map(|seed| (seed >> 24) as u8).take(600).collect();
    assert_eq!(Frames::binary(&noise).deflated(&SETTINGS, 15, |_| {}), None);
    let mut builder = FramesBuilder::with_capacity(0);
    builder.text(&text(500));
    builder.binary(&noise);
    let frames = builder.finish();
    let read = Client::new(true, 15).read(&frames.deflated(&SETTINGS, 15, |_| {}).unwrap());
    assert_eq!(read, [(text(500).into_bytes(), true), (noise, false)]);
}

#[test]
fn frame_stays_plain_when_it_is_below_the_threshold() {
    let settings = Settings { threshold: 500, ..SETTINGS };
    assert!(Frames::text(&text(499)).deflated(&settings, 15, |_| {}).is_none());
    assert!(Frames::text(&text(500)).deflated(&settings, 15, |_| {}).is_some());
}

#[test]
fn message_of_another_implementation_is_inflated() {
    for alone in [false, true] {
        let mut inflater = Inflater::new(agreement(alone, 15));
        let mut compress = Compress::new(Compression::default(), false);
        for length in [5, 0, 70_000, 5] {
            let payload = if length == 0 { vec![0] } else { sync(&mut compress, text(length).as_bytes()) };
            assert_eq!(inflater.inflate(&payload, LIMIT).unwrap(), text(length).as_bytes());
            if alone {
                compress.reset();
            }
        }
        assert_eq!(inflater.context_bytes() == 0, alone, "a context is held only if it is used");
    }
}

#[test]
fn examples_of_the_rfc_are_inflated() {
    let mut inflater = Inflater::new(agreement(false, 15));
    let mut inflate = |payload: &[u8]| inflater.inflate(payload, LIMIT).unwrap();
    assert_eq!(inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]), "Hello");
    assert_eq!(inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00]), "Hello", "by reference to the message before");
    assert_eq!(inflate(&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00]), "Hello", "a block without compression");
    assert_eq!(inflate(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]), "Hello", "a final block");
    assert_eq!(inflate(&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]), "Hello", "two blocks");
    assert_eq!(inflate(&[0]), "");
}

#[test]
fn final_block_may_be_the_end() {
    for alone in [false, true] {
        let mut inflater = Inflater::new(agreement(alone, 15));
        for _ in 0..3 {
            let payload = by_flate2(&mut Compress::new(Compression::fast(), false), b"whole stream", FlushCompress::Finish);
            assert_eq!(inflater.inflate(&payload, LIMIT).unwrap(), "whole stream");
        }
    }
}

#[test]
fn bomb_is_refused_at_the_limit() {
    let bomb = sync(&mut Compress::new(Compression::best(), false), &vec![b'x'; 1 << 20]);
    assert!(bomb.len() < 2_000);
    for alone in [false, true] {
        let mut inflater = Inflater::new(agreement(alone, 15));
        assert_eq!(inflater.inflate(&bomb, 100_000), Err(FrameError::InflatedTooLarge { limit: 100_000 }));
        assert_eq!(Inflater::new(agreement(alone, 15)).inflate(&bomb, 1 << 20).unwrap().len(), 1 << 20);
    }
    assert_eq!(FrameError::InflatedTooLarge { limit: 1 }.close_code(), 1009);
}

#[test]
fn truncated_message_is_refused_when_it_was_compressed_alone() {
    let payload = sync(&mut Compress::new(Compression::default(), false), text(3_000).as_bytes());
    let mut inflater = Inflater::new(agreement(true, 15));
    for end in 1..payload.len() {
        assert_eq!(inflater.inflate(&payload[..end], LIMIT), Err(FrameError::BadDeflate), "{end}");
    }
    assert_eq!(inflater.inflate(&payload, LIMIT).unwrap(), text(3_000).as_bytes(), "the state of the thread is clean");
}

proptest! {
    #[test]
    fn garbage_does_not_panic(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4), alone: bool, bits in 8_u8..=15) {
        let mut inflater = Inflater::new(agreement(alone, bits));
        for payload in payloads {
            match inflater.inflate(&payload, 1_000) {
                Ok(message) => prop_assert!(message.len() <= 1_000),
                Err(error) => prop_assert!(matches!(error.close_code(), 1007 | 1009)),
            }
        }
    }

    #[test]
    fn messages_survive_both_directions(
        payloads in prop::collection::vec(prop::collection::vec(0_u8..4, 0..3_000), 1..6),
        alone: bool,
        bits in 8_u8..=15,
        level in 0_u8..=9,
        memory_level in 1_u8..=9,
    ) {
        let settings = Settings { threshold: 0, level, memory_level };
        let mut deflater = ContextDeflater::new(&settings, bits);
        let mut inflater = Inflater::new(agreement(alone, bits));
        for payload in &payloads {
            let frames = Frames::binary(payload);
            let deflated = if alone { frames.deflated(&settings, bits, |_| {}) } else { deflater.deflate(frames.as_bytes()) };
            let deflated = deflated.unwrap_or_else(|| frames.as_bytes().clone());
            if deflated[0] & 0x40 == 0 {
                prop_assert_eq!(&deflated, frames.as_bytes());
                continue;
            }
            let mut plain = deflated.to_vec();
            plain[0] &= !0x40;
            let frame = raw_frames(&plain).next().unwrap();
            prop_assert_eq!(inflater.inflate(frame.payload, 3_000), Ok(Bytes::copy_from_slice(payload)));
        }
    }
}

#[test]
fn payloads_of_compressed_frames_are_not_read_as_plain() {
    let deflated = Frames::text(&text(2_000)).deflated(&SETTINGS, 15, |_| {}).unwrap();
    assert_eq!(crate::websocket::payloads(&deflated).collect::<Vec<Payload<'_>>>(), []);
}
