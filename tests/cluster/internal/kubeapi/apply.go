package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// fieldManager owns the fields that are applied.
const fieldManager = "paas-cluster"

// plurals are the kinds that can be applied, by the names of their resources; those of clusterWide have no namespace.
var plurals = map[string]string{
	"APIService":               "apiservices",
	"ClusterRole":              "clusterroles",
	"ClusterRoleBinding":       "clusterrolebindings",
	"ConfigMap":                "configmaps",
	"CustomResourceDefinition": "customresourcedefinitions",
	"Deployment":               "deployments",
	"Gateway":                  "gateways",
	"GatewayClass":             "gatewayclasses",
	"HTTPRoute":                "httproutes",
	"Namespace":                "namespaces",
	"NetworkPolicy":            "networkpolicies",
	"Pod":                      "pods",
	"Role":                     "roles",
	"RoleBinding":              "rolebindings",
	"Secret":                   "secrets",
	"Service":                  "services",
	"ServiceAccount":           "serviceaccounts",
	"TCPRoute":                 "tcproutes",
}

var clusterWide = map[string]bool{
	"APIService": true, "ClusterRole": true, "ClusterRoleBinding": true, "CustomResourceDefinition": true,
	"GatewayClass": true, "Namespace": true,
}

// separator parts the documents of a stream.
var separator = regexp.MustCompile(`(?m)^---\s*$`)

// Apply applies every object of a stream of YAML, in order. It waits, up to the context's deadline, for what an object
// needs to be there first: its kind, its namespace, a server that judges it.
func (c *Client) Apply(ctx context.Context, stream string) error {
	for _, document := range separator.Split(stream, -1) {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			return fmt.Errorf("failed to read a manifest: %w\n%s", err, document)
		}
		if len(object) == 0 {
			continue
		}
		path, err := pathOf(object)
		if err != nil {
			return err
		}
		if err := c.applyOne(ctx, path, object); err != nil {
			return fmt.Errorf("failed to apply %s: %w", path, err)
		}
	}
	return nil
}

func (c *Client) applyOne(ctx context.Context, path string, object map[string]any) error {
	for {
		err := c.patch(ctx, path+"?force=true&fieldManager="+fieldManager, "application/apply-patch+yaml", object)
		if err == nil || !maybeLater(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// maybeLater is whether the same request may succeed in a moment: something that it needs is still being set up.
func maybeLater(err error) bool {
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		return true // not reached
	}
	switch refusal.Code {
	case http.StatusNotFound, http.StatusConflict, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusForbidden:
		return true
	}
	return false
}

// pathOf is where an object lies.
func pathOf(object map[string]any) (string, error) {
	version, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	metadata, _ := object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	namespace, _ := metadata["namespace"].(string)
	plural, known := plurals[kind]
	if !known || version == "" || name == "" {
		return "", fmt.Errorf("cannot apply an object of kind %q, version %q, name %q", kind, version, name)
	}
	prefix := "/apis/" + version
	if !strings.Contains(version, "/") {
		prefix = "/api/" + version
	}
	if clusterWide[kind] {
		return prefix + "/" + plural + "/" + name, nil
	}
	if namespace == "" {
		return "", fmt.Errorf("the %s %s has no namespace", kind, name)
	}
	return prefix + "/namespaces/" + namespace + "/" + plural + "/" + name, nil
}
