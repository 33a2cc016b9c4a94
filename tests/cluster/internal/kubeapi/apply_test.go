package kubeapi

import "testing"

func TestAnObjectLiesUnderItsGroupAndNamespace(t *testing.T) {
	object := func(version, kind, namespace string) map[string]any {
		return map[string]any{"apiVersion": version, "kind": kind,
			"metadata": map[string]any{"name": "x", "namespace": namespace}}
	}
	for want, object := range map[string]map[string]any{
		"/api/v1/namespaces/n/secrets/x":                    object("v1", "Secret", "n"),
		"/apis/apps/v1/namespaces/n/deployments/x":          object("apps/v1", "Deployment", "n"),
		"/apis/rbac.authorization.k8s.io/v1/clusterroles/x": object("rbac.authorization.k8s.io/v1", "ClusterRole", ""),
		"/api/v1/namespaces/x":                              object("v1", "Namespace", ""),
	} {
		if got, err := pathOf(object); got != want || err != nil {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
	}
	for _, bad := range []map[string]any{object("v1", "Secret", ""), object("v1", "Unheard", "n"), {}} {
		if got, err := pathOf(bad); err == nil {
			t.Errorf("%v lies at %s", bad, got)
		}
	}
}
