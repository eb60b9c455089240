//! Packets of Socket.IO read and written, and WebSocket frames taken apart.

use std::hint::black_box;

use bytes::Bytes;
use bytestring::ByteString;
use criterion::{BatchSize, Criterion, Throughput};
use sociable_bench::criterion;
use sociable_protocol::websocket;
use sociable_protocol::{Args, Body, Encoding, JsonParser, MsgPackParser, Packet, Parser};

const CHUNK: usize = 64 << 10;

/// 64 bytes, as in the load scenarios.
const TEXT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn main() {
    let mut criterion = criterion();
    json(&mut criterion);
    msgpack(&mut criterion);
    frames(&mut criterion);
    criterion.final_summary();
}

fn event(args: Args) -> Packet {
    Packet::new(Body::Event { name: "message".into(), args, id: None })
}

fn text_args(encoding: Encoding) -> Args {
    let mut builder = Args::builder(encoding);
    builder.push(TEXT).and_then(|builder| builder.push(&36)).expect("arguments");
    builder.finish()
}

fn json(criterion: &mut Criterion) {
    let parser = JsonParser::default();
    let mut decoder = parser.decoder();
    let mut group = criterion.benchmark_group("json");

    let text = ByteString::from(format!(r#"2["message","{TEXT}",36]"#));
    group.bench_function("decode an event", |bencher| bencher.iter(|| decoder.text(black_box(&text).clone())));

    group.bench_function("decode an event and its arguments", |bencher| {
        bencher.iter(|| match decoder.text(black_box(&text).clone()) {
            Ok(Some(Packet { body: Body::Event { args, .. }, .. })) => args.decode_all::<(String, u32)>(),
            other => panic!("not an event: {other:?}"),
        });
    });

    let header = ByteString::from_static(r#"51-["message",{"_placeholder":true,"num":0}]"#);
    let attachment = Bytes::from(TEXT);
    group.bench_function("decode an event with an attachment", |bencher| {
        bencher.iter(|| {
            let begun = decoder.text(black_box(&header).clone());
            assert!(matches!(begun, Ok(None)));
            decoder.binary(black_box(&attachment).clone())
        });
    });

    let packet = event(text_args(Encoding::Json));
    group.bench_function("encode an event", |bencher| bencher.iter(|| parser.encode(black_box(&packet))));

    let packet = event(Args::encode(Encoding::Json, &attachment).expect("an attachment"));
    group.bench_function("encode an event with an attachment", |bencher| bencher.iter(|| parser.encode(black_box(&packet))));

    group.bench_function("encode arguments", |bencher| bencher.iter(|| text_args(black_box(Encoding::Json))));
    group.finish();
}

fn msgpack(criterion: &mut Criterion) {
    let parser = MsgPackParser::default();
    let mut decoder = parser.decoder();
    let mut group = criterion.benchmark_group("msgpack");

    let packet = event(text_args(Encoding::MsgPack));
    let frames = parser.encode(&packet);
    let Some(websocket::Payload::Binary(payload)) = frames.iter().next() else { panic!("not one binary frame") };
    let payload = Bytes::copy_from_slice(payload);
    assert!(matches!(decoder.binary(payload.clone()), Ok(Some(_))));

    group.bench_function("decode an event", |bencher| bencher.iter(|| decoder.binary(black_box(&payload).clone())));
    group.bench_function("encode an event", |bencher| bencher.iter(|| parser.encode(black_box(&packet))));
    group.finish();
}

fn frames(criterion: &mut Criterion) {
    let frame = masked(format!(r#"42["message","{TEXT}",36]"#).as_bytes());
    let chunk = frame.repeat(CHUNK / frame.len());
    let mut decoder = websocket::Decoder::new(1_000_000);

    let mut group = criterion.benchmark_group("websocket");
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    group.bench_function(format!("take {} frames out of 64 KiB", CHUNK / frame.len()), |bencher| {
        bencher.iter_batched_ref(
            || chunk.clone(),
            |chunk| decoder.read(chunk, |message| drop(black_box(message))).expect("whole frames"),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// A short text frame as a client sends it.
fn masked(payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    assert!(payload.len() < 126);
    let mut frame = vec![0x81, 0x80 | payload.len() as u8];
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}
