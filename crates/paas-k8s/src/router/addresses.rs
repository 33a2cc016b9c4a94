//! Where users reach access points.

use paas_core::AppEnv;
use paas_core::port::RouteBinding;

use crate::cluster::Shared;
use crate::scheme::route_name;

impl Shared {
    pub(super) fn address(&self, route: &RouteBinding) -> String {
        let at = &route.track.component.at;
        let Some(gateway) = &self.options.gateway else {
            let service = route_name(at, route.name.as_str());
            let port = route.tcp_port.unwrap_or(route.port.number);
            return format!("{service}.{}:{port}", self.namespace(&at.env_ref()));
        };
        if let Some(port) = route.tcp_port {
            return format!("{}:{port}", gateway.address);
        }
        let host = route.host.clone().unwrap_or_else(|| self.default_host(at));
        let port = gateway.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{host}{port}{}", gateway.scheme, route.path)
    }

    pub(super) fn default_host(&self, at: &AppEnv) -> String {
        let domain = self.options.gateway.as_ref().map_or("cluster.local", |gateway| &gateway.domain);
        format!("{}-{}-{}.{domain}", at.app, at.env, at.org)
    }
}
