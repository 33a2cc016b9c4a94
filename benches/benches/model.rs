//! How long it takes to read and to check what users declare.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use paas_core::model::AppSpec;

const SAMPLE: &str = include_str!("../../examples/sample-app/paas.yaml");

fn read(criterion: &mut Criterion) {
    criterion.bench_function("read the sample's paas.yaml", |bencher| {
        bencher.iter(|| serde_saphyr::from_str::<AppSpec>(black_box(SAMPLE)).expect("a specification"));
    });
    let spec: AppSpec = serde_saphyr::from_str(SAMPLE).expect("a specification");
    let stored = serde_json::to_string(&spec).expect("JSON");
    criterion.bench_function("read it as stored", |bencher| {
        bencher.iter(|| serde_json::from_str::<AppSpec>(black_box(&stored)).expect("a specification"));
    });
}

criterion_group!(benches, read);
criterion_main!(benches);
