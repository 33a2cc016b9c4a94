//! Everything in memory.

use paas_core::Platform;
use paas_core::engine::PlatformBuilder;

/// Nothing runs as another process.
pub(crate) fn helper_main() {}

/// A platform in memory, on which every image runs.
#[expect(clippy::unused_async, reason = "the same signature as for one machine")]
pub(crate) async fn builder(_: Option<String>) -> anyhow::Result<PlatformBuilder> {
    Ok(Platform::in_memory())
}
