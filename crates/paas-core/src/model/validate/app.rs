//! Rules that concern an application as a whole: names, dependencies, access points.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, route, strategy};
use crate::error::Fault;
use crate::model::{AppSpec, Component, Validate};
use crate::name::ComponentName;

const MAX_COMPONENTS: usize = 50;
const MAX_ROUTES: usize = 50;

impl Validate for AppSpec {
    fn faults(&self, path: &str, faults: &mut Vec<Fault>) {
        let mut check = Checker::new(path, faults);
        let mut components = check.field("components");
        components.require(!self.components.is_empty(), || {
            "an application needs at least one component".to_owned()
        });
        components.at_most(self.components.len(), MAX_COMPONENTS, "components");
        components.unique("name", self.components.iter().map(|component| &component.name));
        for (index, component) in self.components.iter().enumerate() {
            let path = components.item(index).path.clone();
            component.faults(&path, components.faults);
            dependencies(&mut components.item(index).field("depends_on"), component, &self.components);
        }
        if let Some(cycle) = cycle(&self.components) {
            let names: Vec<_> = cycle.iter().map(ToString::to_string).collect();
            components.fault(format!("components depend on each other in a circle: {}", names.join(" -> ")));
        }
        let mut routes = check.field("routes");
        routes.at_most(self.routes.len(), MAX_ROUTES, "routes");
        route::routes(&mut routes, &self.routes, &self.components);
        if let Some(spec) = &self.strategy {
            strategy::strategy(&mut check.field("strategy"), spec);
        }
    }
}

/// The component of this name.
pub(super) fn find<'a>(components: &'a [Component], name: &ComponentName) -> Option<&'a Component> {
    components.iter().find(|component| component.name == *name)
}

fn dependencies(check: &mut Checker<'_>, component: &Component, components: &[Component]) {
    let mut seen = BTreeSet::new();
    for (index, dependency) in component.depends_on.iter().enumerate() {
        let mut check = check.item(index);
        check.require(seen.insert(dependency), || format!("{} is named twice", dependency.component));
        let name = &dependency.component;
        if *name == component.name {
            check.field("component").fault("a component cannot depend on itself");
            continue;
        }
        let Some(target) = find(components, name) else {
            check.field("component").fault(format!("there is no component {name}"));
            continue;
        };
        if let Some(port) = &dependency.port
            && !target.ports.iter().any(|candidate| candidate.name == *port)
        {
            check.field("port").fault(format!("component {name} has no port {port}"));
        }
        check.require(!target.kind.serves() || !target.ports.is_empty(), || {
            format!("component {name} has no port to call")
        });
    }
}

/// A circle of dependencies, if there is one, beginning and ending with the same component.
fn cycle(components: &[Component]) -> Option<Vec<ComponentName>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Open,
        Done,
    }
    fn visit(
        name: &ComponentName,
        edges: &BTreeMap<&ComponentName, Vec<&ComponentName>>,
        marks: &mut BTreeMap<ComponentName, Mark>,
        trail: &mut Vec<ComponentName>,
    ) -> bool {
        match marks.get(name) {
            Some(Mark::Done) => return false,
            Some(Mark::Open) => {
                let start = trail.iter().position(|visited| visited == name).unwrap_or(0);
                trail.drain(..start);
                trail.push(name.clone());
                return true;
            }
            None => {}
        }
        marks.insert(name.clone(), Mark::Open);
        trail.push(name.clone());
        for target in edges.get(name).into_iter().flatten() {
            if visit(target, edges, marks, trail) {
                return true;
            }
        }
        trail.pop();
        marks.insert(name.clone(), Mark::Done);
        false
    }
    let edges: BTreeMap<_, Vec<_>> = components
        .iter()
        .map(|component| {
            // A component that depends on itself is a fault of its own.
            let targets = component.depends_on.iter().map(|dependency| &dependency.component);
            (&component.name, targets.filter(|target| **target != component.name).collect())
        })
        .collect();
    let (mut marks, mut trail) = (BTreeMap::new(), Vec::new());
    // The depth of the search is bounded by the number of components, which is bounded too.
    components
        .iter()
        .take(MAX_COMPONENTS)
        .any(|component| visit(&component.name, &edges, &mut marks, &mut trail))
        .then_some(trail)
}
