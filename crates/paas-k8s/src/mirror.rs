//! What the watches have brought, to look at without asking the API server.
//!
//! Whoever observes reads here; whoever writes looks at the API server itself, so that nothing is ever decided to be written
//! by what may be late. A read is as good as a list:
//!
//! - it is never behind what this process has written: every write through the client is [noted](notes);
//! - a kind that has said nothing for a while is listed again before it is believed, because a watch that hangs is as silent
//!   as one that has no news; how long it may be silent depends on what a list costs;
//! - without a watch, or with versions that are no numbers, it is not believed at all, and the API server is asked.

mod kept;
mod notes;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::cluster::Shared;
use crate::gateway_api::{HTTPRoute, TCPRoute};
use crate::scheme::{Installation, keys, roles};

use notes::Noted;
pub(crate) use notes::noting;
use view::{Standing, View};

/// How many objects come with one list at most.
const PAGE: u32 = 500;
/// How long a read waits for the watch to bring what was written, before it lists.
const CATCHING_UP: Duration = Duration::from_millis(100);

/// Where to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// What the watches have brought: for whoever observes.
    Mirror,
    /// The API server: for whoever writes.
    Server,
}

/// Labels that an object must have.
pub(crate) type Labels = BTreeMap<String, String>;

/// The selector of these labels.
pub(crate) fn selector(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// A kind that is followed.
pub(crate) trait Mirrored:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + fmt::Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The roles whose objects are followed; every one if empty.
    const ROLES: &'static [&'static str] = &[];

    /// Its mirror.
    fn of(mirrors: &Mirrors) -> &Mirror<Self>;

    /// Takes away what nobody looks at here.
    fn slim(&mut self, _: &Installation) {}
}

/// Lists the kinds that are followed, each with its mirror and with what differs from other kinds.
macro_rules! mirrored {
    ($($kind:ty => $field:ident $({ $($own:tt)* })?),+ $(,)?) => {
        /// The mirrors of every kind that is followed.
        #[derive(Debug, Default)]
        pub(crate) struct Mirrors {
            $($field: Mirror<$kind>,)+
        }

        impl Mirrors {
            /// Notes a write of an object of the kind with this plural name, if that is followed.
            fn note(&self, plural: &str, noted: Noted) {
                $(if <$kind>::plural(&()) == plural {
                    return self.$field.note(noted);
                })+
            }
        }

        $(impl Mirrored for $kind {
            fn of(mirrors: &Mirrors) -> &Mirror<Self> {
                &mirrors.$field
            }

            $($($own)*)?
        })+
    };
}

mirrored! {
    Deployment => deployments {
        fn slim(&mut self, _: &Installation) {
            kept::deployment(self);
        }
    },
    StatefulSet => stateful_sets {
        fn slim(&mut self, _: &Installation) {
            kept::stateful_set(self);
        }
    },
    Pod => pods {
        fn slim(&mut self, _: &Installation) {
            kept::pod(self);
        }
    },
    Job => jobs,
    Service => services,
    HTTPRoute => http_routes,
    TCPRoute => tcp_routes,
    ConfigMap => config_maps {
        // Configuration of instances is as large as users like, and never changes.
        const ROLES: &'static [&'static str] = &[roles::ROUTES, roles::MANIFESTS, roles::MANIFEST];

        fn slim(&mut self, installation: &Installation) {
            kept::config_map(self, installation);
        }
    },
}

/// The objects of one kind as its watch has brought them.
#[derive(Debug)]
pub(crate) struct Mirror<K> {
    view: Mutex<View<K>>,
    /// Tells that the view has changed.
    moved: watch::Sender<()>,
    /// Whoever lists the kind again, so that only one does.
    listing: tokio::sync::Mutex<()>,
}

impl<K> Default for Mirror<K> {
    fn default() -> Self {
        Self {
            view: Mutex::new(View::default()),
            moved: watch::channel(()).0,
            listing: tokio::sync::Mutex::default(),
        }
    }
}

impl<K> Mirror<K> {
    fn view(&self) -> MutexGuard<'_, View<K>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut View<K>) -> T) -> T {
        let answer = change(&mut self.view());
        self.moved.send_replace(());
        answer
    }
}

impl<K: Mirrored> Mirror<K> {
    /// The watch has begun, or has ended.
    pub(crate) fn connected(&self, is_connected: bool) {
        self.change(|view| view.connected(is_connected));
    }

    /// The watch has told that an object is new or has changed.
    pub(crate) fn put(&self, object: &Arc<K>) {
        self.change(|view| view.put(object));
    }

    /// The watch has told that an object is gone.
    pub(crate) fn take(&self, object: &K) {
        self.change(|view| view.take(object));
    }

    /// The watch has told that there is no news up to a version.
    pub(crate) fn heard(&self, version: &str) {
        self.change(|view| view.heard(version));
    }

    /// Lists everything of the kind. Answers the version of the list, and what differs from before.
    pub(crate) async fn list(
        &self,
        api: &Api<K>,
        installation: &Installation,
    ) -> kube::Result<(String, Vec<Arc<K>>)> {
        let unsure = self.view().unsure();
        let begun = Instant::now();
        let mut objects = Vec::new();
        let mut parameters = ListParams::default().labels(&followed::<K>(installation)).limit(PAGE);
        let version = loop {
            let page = api.list(&parameters).await?;
            objects.extend(page.items.into_iter().map(|object| slim(object, installation)));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => break page.metadata.resource_version.unwrap_or_default(),
            }
        };
        let changed = self.change(|view| view.replace(objects, &version, begun.elapsed(), unsure));
        Ok((version, changed))
    }

    /// Whether it may be believed; it is listed again if need be, and unless somebody does already.
    async fn is_current(&self, shared: &Shared) -> kube::Result<bool> {
        let mut moved = self.moved.subscribe();
        if self.view().standing() == Standing::Behind {
            let caught_up = async {
                while self.view().standing() == Standing::Behind && moved.changed().await.is_ok() {}
            };
            let _ = timeout(CATCHING_UP, caught_up).await; // if it does not, it is listed
        }
        match self.view().standing() {
            Standing::Current => return Ok(true),
            Standing::Unfollowed => return Ok(false),
            Standing::Behind | Standing::Silent => {}
        }
        let Ok(_listing) = self.listing.try_lock() else { return Ok(false) };
        let (_, changed) = self.list(&shared.everywhere(), shared.installation()).await?;
        for object in changed {
            shared.tell(object.meta());
        }
        Ok(self.view().standing() == Standing::Current)
    }
}

/// The selector of what is followed of a kind.
pub(crate) fn followed<K: Mirrored>(installation: &Installation) -> String {
    let ours = installation.selector();
    if K::ROLES.is_empty() {
        return ours;
    }
    format!("{ours},{} in ({})", installation.key(keys::ROLE), K::ROLES.join(","))
}

/// An object without what nobody looks at here.
pub(crate) fn slim<K: Mirrored>(mut object: K, installation: &Installation) -> Arc<K> {
    object.meta_mut().managed_fields = None;
    // Whoever needs the template is about to write.
    object.annotations_mut().remove(&installation.key(keys::TEMPLATE));
    object.slim(installation);
    Arc::new(object)
}

impl Shared {
    /// The objects of a kind in a namespace with these labels, which are of this installation.
    pub(crate) async fn list<K: Mirrored>(
        &self,
        source: Source,
        namespace: &str,
        labels: &Labels,
    ) -> kube::Result<Vec<Arc<K>>> {
        let mirror = K::of(&self.mirrors);
        if source == Source::Mirror && mirror.is_current(self).await? {
            return Ok(mirror.view().of(namespace, labels));
        }
        let found = self.api::<K>(namespace).list(&ListParams::default().labels(&selector(labels))).await?;
        Ok(found.items.into_iter().map(Arc::new).collect())
    }

    /// The objects of a kind in every namespace with these labels, which are of this installation.
    pub(crate) async fn list_everywhere<K: Mirrored>(
        &self,
        source: Source,
        labels: &Labels,
    ) -> kube::Result<Vec<Arc<K>>> {
        let mirror = K::of(&self.mirrors);
        if source == Source::Mirror && mirror.is_current(self).await? {
            return Ok(mirror.view().everywhere(labels));
        }
        let found = self.everywhere::<K>().list(&ListParams::default().labels(&selector(labels))).await?;
        Ok(found.items.into_iter().map(Arc::new).collect())
    }

    /// An object by its name. Somebody else's is not in the mirror, so that it is missing there.
    pub(crate) async fn get<K: Mirrored>(
        &self,
        source: Source,
        namespace: &str,
        name: &str,
    ) -> kube::Result<Option<Arc<K>>> {
        let mirror = K::of(&self.mirrors);
        if source == Source::Mirror && mirror.is_current(self).await? {
            return Ok(mirror.view().get(namespace, name));
        }
        Ok(self.api::<K>(namespace).get_opt(name).await?.map(Arc::new))
    }
}
