package selftest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"paas/tests/cluster/internal/kubeapi"
	"paas/tests/cluster/internal/pki"
)

// nodeAuthoriser looks as one node's kubelet at what is another's, and at a Secret that no pod of its node uses.
func (r *run) nodeAuthoriser(ctx context.Context) error {
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: unused, namespace: " + namespace + "}\n"
	if err := r.client.Apply(ctx, secret); err != nil {
		return err
	}
	own, other := r.status.Nodes[0].Name, r.status.Nodes[1].Name
	kubelet, err := kubeapi.New(r.status.Server, pki.Folder(r.status.Keys()), "ca", own)
	if err != nil {
		return err
	}
	if _, err := kubelet.Get(ctx, "/api/v1/nodes/"+own); err != nil {
		return fmt.Errorf("it may not read its own node: %w", err)
	}
	for _, path := range []string{"/api/v1/namespaces/" + namespace + "/secrets/unused", "/api/v1/namespaces/" + namespace + "/secrets"} {
		if err := refused(kubelet.Get(ctx, path)); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	change := map[string]any{"metadata": map[string]any{"labels": map[string]any{"changed": "yes"}}}
	return refused(nil, kubelet.Merge(ctx, "/api/v1/nodes/"+other, change))
}

// refused is whether an answer was that it is forbidden.
func refused(_ []byte, err error) error {
	var refusal *kubeapi.Refusal
	if errors.As(err, &refusal) && refusal.Code == http.StatusForbidden {
		return nil
	}
	return fmt.Errorf("it is not forbidden: %w", err)
}

// denyAll lets nothing into the web server; allowWeb lets its own pods in.
const (
	denyAll = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: selftest}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
`
	allowWeb = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow, namespace: selftest}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 8080}]
`
)

func (r *run) networkPolicy(ctx context.Context) error {
	if !r.status.NetworkPolicies.Enforced {
		return fmt.Errorf("%w: %s", errSkipped, r.status.NetworkPolicies.Reason)
	}
	found, err := r.podOnEachNode(ctx)
	if err != nil {
		return err
	}
	if err := r.client.Apply(ctx, denyAll); err != nil {
		return err
	}
	// A policy holds when no pod reaches the Service any more, from whichever node to whichever.
	for node, pod := range found {
		err := eventually(ctx, time.Minute, func(ctx context.Context) error {
			answers, err := r.inPod(ctx, pod, "get", "http://web/")
			if err == nil {
				return fmt.Errorf("from %s it still answers %q", node, answers)
			}
			if !strings.Contains(err.Error(), "Client.Timeout") && !strings.Contains(err.Error(), "deadline") {
				return err
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := r.client.Apply(ctx, allowWeb); err != nil {
		return err
	}
	if err := r.service(ctx); err != nil {
		return fmt.Errorf("what is allowed: %w", err)
	}
	prefix := "/apis/networking.k8s.io/v1/namespaces/" + namespace + "/networkpolicies/"
	if err := errors.Join(r.client.Delete(ctx, prefix+"deny"), r.client.Delete(ctx, prefix+"allow")); err != nil {
		return err
	}
	return eventually(ctx, 20*time.Second, r.throughGateway)
}
