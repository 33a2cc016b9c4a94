//! Putting a config into force.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::Semaphore;

use super::{Gateway, Inner, lock};
use crate::{
    Error, ErrorKind, Result,
    config::{self, Config, InstanceId, Limits},
    listen::Inherited,
    table::Table,
    unix,
    upstream::Instance,
};

impl Gateway {
    /// Puts a config into force, as a whole. What is open is not touched. Returns the generation in force: that of
    /// the config.
    ///
    /// It is also written to the file, if there is one; should the disk not let it, the config is in force all the same,
    /// and the [status](Gateway::status) says that it is not persisted.
    ///
    /// # Errors
    /// Nothing has changed then. `Invalid` if the config makes no sense, with all its faults; `Stale` if a newer one is
    /// in force, or another one of the same generation; `Conflict` if a new address cannot be listened on.
    pub async fn apply(&self, config: Config) -> Result<u64> {
        config.validate()?;
        let mut applied = self.inner.applied.lock().await;
        if let Some(current) = &applied.config {
            let stale = |detail: String| {
                Err(Error::new(ErrorKind::Stale, "apply a gateway config")
                    .with("generation", config.generation)
                    .with_detail(detail))
            };
            if config.generation < current.generation {
                return stale(format!("generation {} is in force", current.generation));
            }
            if config.generation == current.generation {
                if **current == config {
                    return Ok(config.generation);
                }
                return stale("another config of this generation is in force: count up".into());
            }
        }
        if self.inner.stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Unavailable, "apply a gateway config")
                .with_detail("this gateway is ending"));
        }
        self.inner.put_into_force(&config, Inherited::default(), Strictness::Whole)?;
        let config = Arc::new(config);
        applied.persisted = self.inner.persist(&config).await;
        applied.config = Some(config.clone());
        Ok(config.generation)
    }

    /// Puts the config into force that was in force before this process began. It serves what can be served: an
    /// address that cannot be listened on now is tried again and again.
    pub(crate) async fn resume(&self, config: Config, inherited: Inherited) -> Result<u64> {
        config.validate()?;
        let mut applied = self.inner.applied.lock().await;
        self.inner.put_into_force(&config, inherited, Strictness::AsFarAsPossible)?;
        let generation = config.generation;
        applied.persisted = true;
        applied.config = Some(Arc::new(config));
        Ok(generation)
    }

    /// Sees to it that the config in force is on disk.
    pub(crate) async fn persist_now(&self) -> Result<()> {
        let mut applied = self.inner.applied.lock().await;
        if let Some(config) = applied.config.clone().filter(|_| !applied.persisted) {
            applied.persisted = self.inner.persist(&config).await;
            if !applied.persisted {
                return Err(Error::new(ErrorKind::Io, "write the config").with_detail("see the log"));
            }
        }
        Ok(())
    }

    /// The config in force.
    pub async fn config(&self) -> Option<Arc<Config>> {
        self.inner.applied.lock().await.config.clone()
    }
}

/// What an address that cannot be listened on means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// The config is refused.
    Whole,
    /// The rest is served.
    AsFarAsPossible,
}

impl Inner {
    fn put_into_force(
        self: &Arc<Self>,
        config: &Config,
        inherited: Inherited,
        strictness: Strictness,
    ) -> Result<()> {
        // What can fail comes first.
        let bound = lock(&self.listeners).bind_new(&config.listeners, inherited, strictness)?;

        let (fresh, current) = self.instances_of(config);
        for instance in &fresh {
            instance.set_accepting(true);
        }
        let before = self.table();
        let table = Table::new(config, &current, Some(&before), &self.registry);
        if table.limits.connections != before.limits.connections {
            *self.permits.write().expect("no holder of this lock panics") =
                Arc::new(Semaphore::new(room(&table.limits)));
        }
        *self.table.write().expect("no holder of this lock panics") = Arc::new(table);
        drop(before);
        // Whoever found one of these in the table before looks again.
        self.switch_instances(config, current);
        self.log.set_max_bytes(config.limits.access_log_bytes);
        lock(&self.listeners).switch(self, &config.listeners, bound);
        lock(&self.callers).switch(self, &config.callers);
        self.registry.retire_unused();
        Ok(())
    }

    /// The instances of a config, those in use already among them; and which of them accept from now on.
    fn instances_of(&self, config: &Config) -> (Vec<Arc<Instance>>, HashMap<InstanceId, Arc<Instance>>) {
        let known = lock(&self.instances);
        let mut accepting = Vec::new();
        let mut all = HashMap::with_capacity(config.instances.len());
        for instance in &config.instances {
            let live = match known.current.get(&instance.id) {
                Some(live) if live.dial == instance.dial && live.revision == instance.revision => {
                    live.clone()
                }
                _ => Arc::new(Instance::new(instance, self.hub.clone())),
            };
            if accepts(instance) {
                accepting.push(live.clone());
            }
            all.insert(instance.id.clone(), live);
        }
        (accepting, all)
    }

    fn switch_instances(&self, config: &Config, current: HashMap<InstanceId, Arc<Instance>>) {
        let mut ended = Vec::new();
        {
            let mut known = lock(&self.instances);
            let before = std::mem::replace(&mut known.current, current);
            for (id, instance) in before {
                let stays = known.current.get(&id).is_some_and(|now| Arc::ptr_eq(now, &instance));
                if !stays {
                    ended.push(instance.clone());
                    known.leaving.push(instance);
                }
            }
            for instance in config.instances.iter().filter(|instance| !accepts(instance)) {
                ended.extend(known.current.get(&instance.id).cloned());
            }
        }
        for instance in ended {
            instance.set_accepting(false);
        }
        lock(&self.instances).leaving.retain(|instance| !instance.is_idle());
    }

    async fn persist(&self, config: &Arc<Config>) -> bool {
        let Some(file) = self.config_file.clone() else { return false };
        let config = config.clone();
        let written = tokio::task::spawn_blocking(move || {
            let text = serde_json::to_vec(&*config)?;
            unix::write_whole(&file, &text)
        });
        match written.await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "the config is in force, but could not be written: a gateway started \
                    anew would serve the one before");
                false
            }
            Err(error) => {
                tracing::error!(%error, "the config is in force, but writing it broke off");
                false
            }
        }
    }
}

/// How many connections of clients may be open at once.
pub(super) fn room(limits: &Limits) -> usize {
    (limits.connections as usize).min(unix::most_connections())
}

fn accepts(instance: &config::Instance) -> bool {
    instance.ready && !instance.draining
}
