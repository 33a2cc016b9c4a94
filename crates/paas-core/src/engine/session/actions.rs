//! Every action of the core as a method.

#![allow(clippy::wildcard_imports, reason = "it uses every action")]

use futures::future::BoxFuture;

use super::Session;
use crate::action::*;
use crate::engine::{AppRecord, AppStatus, EventRecord, Grant, RunRecord};
use crate::error::Result;
use crate::model::{Environment, Keep, Organization, Release, ReleaseNumber, RouteSpec};
use crate::name::{AppEnv, AppRef, ClusterName, ComponentName, EnvRef, OrgName, RouteName};
use crate::port::{InstanceId, Role, RunInput, Scope, SecretValue};
use crate::tenancy::Actor;

/// A method that performs one action. Its future is boxed, so that it is compiled here and not in every crate that
/// awaits it.
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $output:ty = $action:expr;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// Those of [`Session::perform`].
            pub fn $name(&self, $($arg: $type),*) -> BoxFuture<'_, Result<$output>> {
                Box::pin(self.perform($action))
            }
        )*
    };
}

/// Organisations, environments, applications and roles.
impl Session {
    methods! {
        /// Makes an organisation.
        create_org(new: NewOrg) -> Versioned<Organization> = CreateOrg(new);
        /// Changes an organisation.
        update_org(org: &OrgName, change: OrgChange) -> Versioned<Organization> =
            UpdateOrg { org: org.clone(), change };
        /// Deletes an organisation that is empty.
        delete_org(org: &OrgName) -> () = DeleteOrg { org: org.clone() };
        /// Shows an organisation.
        get_org(org: &OrgName) -> Versioned<Organization> = GetOrg { org: org.clone() };
        /// Lists the organisations that the actor may see.
        list_orgs(page: PageOptions) -> ListPage<Versioned<Organization>> = ListOrgs { page };

        /// Makes an environment.
        create_env(org: &OrgName, new: NewEnv) -> Versioned<Environment> = CreateEnv { org: org.clone(), new };
        /// Changes an environment.
        update_env(env: &EnvRef, change: EnvChange) -> Versioned<Environment> =
            UpdateEnv { env: env.clone(), change };
        /// Deletes an environment that is empty.
        delete_env(env: &EnvRef) -> () = DeleteEnv { env: env.clone() };
        /// Shows an environment.
        get_env(env: &EnvRef) -> Versioned<EnvInfo> = GetEnv { env: env.clone() };
        /// Lists the environments of an organisation that the actor may see.
        list_envs(org: &OrgName, page: PageOptions) -> ListPage<Versioned<EnvInfo>> =
            ListEnvs { org: org.clone(), page };

        /// Makes an application.
        create_app(org: &OrgName, new: NewApp) -> Versioned<AppRecord> = CreateApp { org: org.clone(), new };
        /// Deletes an application from all its environments; `confirm` is its name.
        delete_app(app: &AppRef, confirm: &str) -> Vec<DeletionPreview> =
            DeleteApp { app: app.clone(), confirm: confirm.to_owned() };
        /// Shows an application and where it is.
        get_app(app: &AppRef) -> Versioned<AppInfo> = GetApp { app: app.clone() };
        /// Lists the applications of an organisation that the actor may see.
        list_apps(org: &OrgName, page: PageOptions) -> ListPage<Versioned<AppRecord>> =
            ListApps { org: org.clone(), page };

        /// Adds a cluster, which must answer.
        add_cluster(new: NewCluster, credentials: Option<SecretValue>) -> Versioned<ClusterView> =
            AddCluster { new, credentials, unreachable: false };
        /// Changes a cluster, which must answer.
        update_cluster(cluster: &ClusterName, change: ClusterChange, credentials: Option<SecretValue>)
            -> Versioned<ClusterView> =
            UpdateCluster { cluster: cluster.clone(), change, credentials, unreachable: false };
        /// Removes a cluster that no environment targets.
        remove_cluster(cluster: &ClusterName) -> () =
            RemoveCluster { cluster: cluster.clone(), force: false };
        /// Shows what stands in the way of removing a cluster.
        preview_remove_cluster(cluster: &ClusterName) -> ClusterRemoval =
            PreviewRemoveCluster { cluster: cluster.clone() };
        /// Shows a cluster, and asks it how it is.
        get_cluster(cluster: &ClusterName) -> Versioned<ClusterView> = GetCluster { cluster: cluster.clone() };
        /// Lists the clusters that the actor may see.
        list_clusters(page: PageOptions) -> ListPage<Versioned<ClusterView>> = ListClusters { page };

        /// Gives an actor a role on a scope, in place of the one it had there.
        grant(actor: &Actor, role: Role, scope: Scope) -> Versioned<Grant> =
            GrantRole { actor: actor.id().to_owned(), role, scope };
        /// Takes an actor's role on a scope away.
        revoke_grant(actor: &Actor, scope: Scope) -> () = RevokeGrant { actor: actor.id().to_owned(), scope };
        /// Lists who has a role on exactly this scope.
        list_grants(scope: Scope, page: PageOptions) -> ListPage<Versioned<Grant>> = ListGrants { scope, page };
    }
}

/// Configuration and access points.
impl Session {
    methods! {
        /// Sets and unsets settings. Instances get them with the next release.
        set_config(at: &AppEnv, change: ConfigChange) -> ConfigWritten = SetConfig { at: at.clone(), change };
        /// Sets a secret. Instances get it with the next release.
        set_secret(at: &AppEnv, name: &str, value: SecretValue) -> ConfigWritten =
            SetSecret { at: at.clone(), name: name.to_owned(), value };
        /// Takes a secret out of the configuration.
        unset_secret(at: &AppEnv, name: &str) -> ConfigWritten =
            UnsetSecret { at: at.clone(), name: name.to_owned() };
        /// Destroys a version of a secret.
        revoke_secret(at: &AppEnv, name: &str, version: u64) -> () =
            RevokeSecret { at: at.clone(), name: name.to_owned(), version };
        /// Shows a version of the configuration, the newest if none is named.
        get_config(at: &AppEnv, version: Option<u64>) -> ConfigView = GetConfig { at: at.clone(), version };
        /// Lists the versions of the configuration, the newest first.
        config_history(at: &AppEnv, page: PageOptions) -> ListPage<ConfigSummary> =
            ListConfigHistory { at: at.clone(), page };

        /// Replaces all access points; in force at once.
        set_routes(at: &AppEnv, routes: Vec<RouteSpec>) -> RoutesView = SetRoutes { at: at.clone(), routes };
        /// Adds an access point, in place of the one of this name; in force at once.
        add_route(at: &AppEnv, route: RouteSpec) -> RoutesView = AddRoute { at: at.clone(), route };
        /// Removes an access point at once.
        remove_route(at: &AppEnv, route: &RouteName) -> RoutesView =
            RemoveRoute { at: at.clone(), route: route.clone() };
        /// Shows the access points in force.
        get_routes(at: &AppEnv) -> RoutesView = GetRoutes { at: at.clone() };
    }
}

/// Releases, and what is done to a running application.
impl Session {
    methods! {
        /// Makes a release of a specification, of images, or of what was declared last.
        deploy(at: &AppEnv, deploy: Deploy) -> ReleaseStarted = DeployApp { at: at.clone(), deploy };
        /// Returns to an earlier release.
        rollback(at: &AppEnv, to: RollbackTarget, keep: Keep) -> ReleaseStarted =
            RollbackApp { at: at.clone(), rollback: Rollback { to, keep, note: String::new() } };
        /// Replaces the instances by new ones of the same content.
        restart(at: &AppEnv, component: Option<&ComponentName>) -> ReleaseStarted =
            RestartApp { at: at.clone(), component: component.cloned() };
        /// Changes how many instances of a component run on each cluster, at once.
        scale(at: &AppEnv, component: &ComponentName, count: u32) -> Scaled =
            ScaleApp { at: at.clone(), component: component.clone(), count };
        /// Takes an application or a component offline.
        stop(at: &AppEnv, component: Option<&ComponentName>) -> () =
            StopApp { at: at.clone(), component: component.cloned() };
        /// Brings an application or a component back online.
        start(at: &AppEnv, component: Option<&ComponentName>) -> () =
            StartApp { at: at.clone(), component: component.cloned() };
        /// Ends the release that is under way and returns to the current one.
        abort(at: &AppEnv, reason: &str) -> () = AbortRelease { at: at.clone(), reason: reason.to_owned() };
        /// Tries the aborted release again.
        retry(at: &AppEnv) -> () = RetryRelease { at: at.clone() };
        /// Keeps the release that is under way from advancing.
        pause(at: &AppEnv) -> () = PauseRelease { at: at.clone() };
        /// Lets the release that is under way advance again.
        resume(at: &AppEnv) -> () = ResumeRelease { at: at.clone() };
        /// Shows what deleting an application from an environment takes away.
        preview_delete(at: &AppEnv) -> DeletionPreview = PreviewDelete { at: at.clone() };
        /// Deletes an application from an environment; `confirm` is its name.
        delete_app_env(at: &AppEnv, confirm: &str) -> DeletionPreview =
            DeleteAppEnv { at: at.clone(), confirm: confirm.to_owned() };

        /// Starts a one-off command with a component's image, configuration and limits; without a command, of a scheduled job,
        /// a run of it now.
        run(
            at: &AppEnv,
            component: &ComponentName,
            command: Option<Vec<String>>,
            input: RunInput
        ) -> RunRecord = RunCommand { at: at.clone(), component: component.clone(), command, input };
        /// Shows a one-off command.
        get_run(at: &AppEnv, id: &InstanceId) -> RunRecord = GetRun { at: at.clone(), id: id.clone() };
        /// Lists one-off commands, and runs of scheduled jobs.
        list_runs(at: &AppEnv, page: PageOptions) -> ListPage<RunRecord> = ListRuns { at: at.clone(), page };
        /// Stops a one-off command.
        stop_run(at: &AppEnv, id: &InstanceId) -> () = StopRun { at: at.clone(), id: id.clone() };
    }
}

/// Looking.
impl Session {
    methods! {
        /// Shows how an application is in an environment.
        status(at: &AppEnv) -> AppStatus = Status { at: at.clone() };
        /// Shows how the applications in an environment are.
        list_status(env: &EnvRef, page: PageOptions) -> ListPage<AppStatus> = ListStatus { env: env.clone(), page };
        /// Lists the releases that are kept, the newest first.
        releases(at: &AppEnv, page: PageOptions) -> ListPage<ReleaseSummary> =
            ListReleases { at: at.clone(), page };
        /// Shows a release.
        release(at: &AppEnv, number: ReleaseNumber) -> Release = GetRelease { at: at.clone(), number };
        /// Shows what two releases differ in.
        diff(at: &AppEnv, from: ReleaseNumber, to: ReleaseNumber) -> Diff =
            DiffReleases { at: at.clone(), from, to };
        /// Lists the events of a scope, the newest first.
        events(scope: Scope, page: PageOptions) -> ListPage<EventRecord> = ListEvents { scope, page };
        /// Shows the audit trail of a scope, the newest entry first.
        audit(scope: Scope, page: PageOptions) -> AuditPage = ReadAudit { scope, page };
    }
}
