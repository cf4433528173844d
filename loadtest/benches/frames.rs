//! What the generator does with each frame, which is all that it does thousands of times a second: `cargo bench -p
//! roost-loadtest`. A frame must cost it less than it costs the server.

use criterion::{Criterion, black_box, criterion_group, criterion_main};
use roost_client::packet::Packet;
use roost_loadtest::{
    clock,
    sequence::Sequence,
    socket::{Mark, event},
};
use serde_json::json;

fn frames(criterion: &mut Criterion) {
    let room = "01890a5d-ac96-774b-bcce-b302099a8057";
    let mark = Mark { number: 1, due: 1 };
    let body =
        json!({ "authorId": room, "createdAt": "2026-11-30T00:00:00Z", "text": mark.text() });
    let events = json!([{ "seq": 1, "item": room, "kind": "message", "op": "put", "body": body }]);
    let frame = json!({ "room": room, "events": events, "position": "1.1", "live": true });
    let frame = event(None, "room:events", &frame);
    criterion.bench_function("read a packet's head", |bencher| {
        bencher.iter(|| Packet::read(black_box(&frame)));
    });
    criterion.bench_function("write a message", |bencher| {
        bencher.iter(|| {
            let message = json!({ "room": room, "text": mark.text() });
            event(Some(black_box(7)), "message:send", &message)
        });
    });
    criterion.bench_function("note a number", |bencher| {
        let (mut sequence, mut number) = (Sequence::default(), 0);
        bencher.iter(|| {
            number += 1;
            sequence.receive(black_box(number));
        });
    });
    criterion.bench_function("ask for the time", |bencher| bencher.iter(clock::now));
}

criterion_group!(benches, frames);
criterion_main!(benches);
