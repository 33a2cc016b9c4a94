//! Names of the objects in a config. Any text can be read into one; [`Config::validate`](super::Config::validate)
//! says which are good, together with everything else that is wrong.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name with this text; cheap to clone.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().into()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )+};
}

ids! {
    /// Names a [`Listener`](super::Listener).
    ListenerId,
    /// Names a [`Route`](super::Route).
    RouteId,
    /// Names a [`Service`](super::Service).
    ServiceId,
    /// Names a [`Port`](super::Port) of a service.
    PortName,
    /// Names a [`Revision`](super::Revision) of a service.
    RevisionId,
    /// Names an [`Instance`](super::Instance).
    InstanceId,
    /// Names a component that calls.
    ComponentId,
}

/// What is wrong with a name, if anything.
pub(super) fn fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("must not be empty")
    } else if text.len() > 512 {
        Some("must not be longer than 512 bytes")
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("must hold visible ASCII characters only")
    } else {
        None
    }
}
