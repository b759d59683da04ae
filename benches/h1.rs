//! What reading and writing a head costs. The question: how much of a request's time is the codec's?
//!
//! Requests as browsers and programs send them, a response as a backend sends it; each is copied into the buffer first,
//! as a read from a socket would, and the copy is measured alone for comparison.
#![allow(missing_docs)] // criterion's macros make public functions

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serin::h1::{
    Asked, BodyDecoder, Framing, HeadLimits, RequestDecoder, ResponseDecoder, put_end_of_head, put_field,
    put_status_line,
};
use serin::path::PathPolicy;

/// The program's own: where things lie in memory is part of the answer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 64 * 1024,
    fields: 100,
    target_bytes: 8 * 1024,
};

const BROWSER: &[u8] = b"GET /products/espresso-machines?sort=price&page=2 HTTP/1.1\r\n\
Host: shop.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Referer: https://shop.example.com/products\r\n\
Connection: keep-alive\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n\
Upgrade-Insecure-Requests: 1\r\n\
Sec-Fetch-Dest: document\r\n\
Sec-Fetch-Mode: navigate\r\n\
Sec-Fetch-Site: same-origin\r\n\
Priority: u=0, i\r\n\r\n";

const API: &[u8] = b"POST /v1/orders/48151623/items HTTP/1.1\r\n\
host: api.example.com\r\n\
user-agent: python-httpx/0.28.1\r\n\
accept: application/json\r\n\
accept-encoding: gzip, deflate\r\n\
authorization: Bearer 0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n\
content-type: application/json\r\n\
content-length: 58\r\n\
x-user-id: user-48151623\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
Date: Mon, 03 Mar 2025 10:20:30 GMT\r\n\
Content-Type: application/json; charset=utf-8\r\n\
Content-Length: 1024\r\n\
Cache-Control: private, max-age=0\r\n\
ETag: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"\r\n\
Vary: Accept-Encoding\r\n\r\n";

const CHUNKED: &[u8] = b"100\r\n0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n0\r\n\r\n";

/// Runs `read` over `input`, in a buffer that serves again and again as a connection's does.
fn read(criterion: &mut Criterion, name: &str, input: &'static [u8], mut read: impl FnMut(&mut BytesMut)) {
    let mut group = criterion.benchmark_group("h1");
    group.throughput(Throughput::Bytes(input.len() as u64));
    let mut buf = BytesMut::with_capacity(16 * 1024);
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            buf.reserve(4096);
            buf.extend_from_slice(black_box(input));
            read(&mut buf);
        });
    });
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    read(criterion, "copy_alone", BROWSER, |buf| {
        drop(black_box(buf.split().freeze()))
    });
    for (name, input) in [("request/browser", BROWSER), ("request/api", API)] {
        let mut decoder = RequestDecoder::new(LIMITS, PathPolicy::Strict);
        read(criterion, name, input, |buf| {
            black_box(decoder.decode(buf).expect("good").expect("complete"));
        });
    }
    let mut decoder = ResponseDecoder::new(LIMITS);
    read(criterion, "response", RESPONSE, |buf| {
        black_box(decoder.decode(buf, Asked::default()).expect("good").expect("complete"));
    });
    read(criterion, "chunked", CHUNKED, |buf| {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        while let Some(part) = decoder.decode(buf).expect("good") {
            black_box(part);
        }
        assert!(decoder.is_done());
    });
}

fn encode(criterion: &mut Criterion) {
    let mut buf = BytesMut::from(RESPONSE);
    let decoded = ResponseDecoder::new(LIMITS).decode(&mut buf, Asked::default());
    let head = decoded.expect("good").expect("complete").head;
    criterion.bench_function("h1/encode/response", |bencher| {
        bencher.iter_batched_ref(
            || Vec::with_capacity(1024),
            |out| {
                put_status_line(out, black_box(head.status));
                for (name, value) in head.fields.iter() {
                    put_field(out, name, value);
                }
                put_end_of_head(out);
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
