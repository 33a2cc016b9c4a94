//! Says which cluster tests would run on, after bringing it up if need be: `cargo run -p paas-cluster-harness --example
//! which`.

fn main() -> anyhow::Result<()> {
    println!("{:#?}", paas_cluster_harness::cluster()?);
    Ok(())
}
