//! How long the proxies of a gateway take to follow what it has accepted. None of them says when it does.

use std::time::Duration;

use super::confirm::parents;
use crate::gateway_api::RouteStatus;
use crate::options::GatewayOptions;

/// Until the nodes follow the service of a component that no route leads to.
pub(super) const OF_NODES: Duration = Duration::from_millis(500);

/// Until the proxies of an implementation that nothing is known of follow.
const UNKNOWN: Duration = Duration::from_secs(1);

/// Implementations, by the name of their controller, that give their proxies the new shares before they say that they have
/// accepted them. What is left is the way to the proxy.
///
/// Contour: `internal/contour/handler.go` hands the snapshot over to its streams first, then its status to be written.
const AHEAD: [(&str, Duration); 1] = [("projectcontour.io/gateway-controller", Duration::from_millis(250))];

/// From when a route is accepted until all requests follow its shares.
pub(super) fn of_shares(gateway: &GatewayOptions, status: Option<&RouteStatus>) -> Duration {
    gateway.grace.unwrap_or_else(|| {
        let known =
            |name: &str| AHEAD.iter().find(|(controller, _)| *controller == name).map(|(_, grace)| *grace);
        let graces = parents(gateway, status).map(|parent| known(&parent.controller_name).unwrap_or(UNKNOWN));
        graces.max().unwrap_or(UNKNOWN)
    })
}

/// From when a route is accepted until its proxies know the services in it. Too short a time costs requests; a long one costs
/// nothing, because it passes while the instances start.
pub(super) fn of_services(gateway: &GatewayOptions) -> Duration {
    gateway.grace.unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(controllers: &[&str]) -> RouteStatus {
        let parent = |name: &&str| json!({ "parentRef": { "name": "gateway" }, "controllerName": name });
        let other = json!({ "parentRef": { "name": "other" }, "controllerName": "slow" });
        let parents: Vec<_> = controllers.iter().map(parent).chain([other]).collect();
        serde_json::from_value(json!({ "parents": parents })).unwrap()
    }

    #[test]
    fn an_implementation_that_is_ahead_of_its_word_is_given_less() {
        let gateway = GatewayOptions::new("gateway", "gateway", "apps.example");
        let of = |controllers: &[&str]| of_shares(&gateway, Some(&status(controllers)));
        let contour = AHEAD[0].0;
        assert_eq!(of(&[contour]), Duration::from_millis(250));
        assert_eq!(of(&["example.com/other"]), UNKNOWN);
        assert_eq!(of(&[contour, "example.com/other"]), UNKNOWN, "the slowest counts");
        assert_eq!(of(&[]), UNKNOWN);
        assert_eq!(of_shares(&gateway, None), UNKNOWN);
        assert_eq!(of_services(&gateway), UNKNOWN);
    }

    #[test]
    fn what_is_configured_holds() {
        let long = Duration::from_secs(20);
        let gateway = GatewayOptions::new("gateway", "gateway", "apps.example").with_grace(long);
        assert_eq!(of_shares(&gateway, Some(&status(&[AHEAD[0].0]))), long);
        assert_eq!(of_services(&gateway), long);
    }
}
