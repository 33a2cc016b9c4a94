// Package addons puts into a cluster what users expect of one: DNS, metrics, a Gateway.
//
// They run as pods like everywhere else, so that policies, logs and metrics of them are real. Their image is empty:
// the programs are mounted from the folder where they were built.
package addons

import (
	"context"
	"embed"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"paas/tests/cluster/internal/kubeapi"
	"paas/tests/cluster/internal/node"
	"paas/tests/cluster/internal/pki"
	"paas/tests/cluster/internal/state"
)

//go:embed manifests/*.yaml
var files embed.FS

// Listener is one of the Gateway's.
type Listener struct {
	Name     string `json:"name"`
	Port     int    `json:"port"`
	Protocol string `json:"protocol"`
}

// Target is where Envoy listens for it: Contour adds 8000.
func (l Listener) Target() int { return l.Port + 8000 }

// Listeners are those of every cluster's Gateway. A service has its ports written down, so that they are fixed.
var Listeners = []Listener{
	{"http", 80, "HTTP"},
	{"http-alt", 8080, "HTTP"},
	{"tcp-1", 9001, "TCP"},
	{"tcp-2", 9002, "TCP"},
}

// Gateway is the namespace and the name of the Gateway, of GatewayClass `contour`.
const Gateway = "projectcontour/gateway"

// values fill the manifests' blanks.
type values struct {
	Image, Tools, Loader, DNS, XDS, Authority string
	ResolvesOutside                           bool
	MetricsCertificate, MetricsKey            string
	ContourCertificate, ContourKey            string
	EnvoyCertificate, EnvoyKey                string
	Listeners                                 []Listener
}

// Kit is where the built programs and the modules' manifests are.
type Kit struct {
	// Programs is the folder of the programs.
	Programs string
	// Manifests is the folder of the manifests that come with the modules.
	Manifests string
}

// Stream is everything that is applied to a cluster, in order.
func Stream(cluster state.Cluster, kit Kit, image string) (string, error) {
	filled, err := fill(cluster, kit, image)
	if err != nil {
		return "", err
	}
	// The namespace and the kinds first; the server takes a moment to know new kinds, while the others start.
	streams := []string{"apiVersion: v1\nkind: Namespace\nmetadata: {name: projectcontour}\n"}
	theirs, err := filepath.Glob(filepath.Join(kit.Manifests, "*.yaml"))
	if err != nil || len(theirs) == 0 {
		return "", fmt.Errorf("there are no manifests in %s; build the kit again", kit.Manifests)
	}
	for _, path := range theirs {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("failed to read a manifest: %w", err)
		}
		streams = append(streams, string(text))
	}
	return strings.Join(append(streams, filled...), "\n---\n"), nil
}

// Apply puts everything into the cluster, or brings what is there up to date.
func Apply(ctx context.Context, client *kubeapi.Client, cluster state.Cluster, stream string) error {
	if err := client.Apply(ctx, stream); err != nil {
		return err
	}
	if err := setAddress(ctx, client, cluster); err != nil {
		return err
	}
	return acceptClass(ctx, client)
}

// acceptClass does what Contour leaves to its provisioner: it says that the class has a controller.
func acceptClass(ctx context.Context, client *kubeapi.Client) error {
	accepted := map[string]any{
		"type": "Accepted", "status": "True", "reason": "Accepted", "observedGeneration": 1,
		"message":            "Contour serves the Gateway " + Gateway + " of this class, and no other",
		"lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
	}
	change := map[string]any{"status": map[string]any{"conditions": []any{accepted}}}
	return client.Merge(ctx, "/apis/gateway.networking.k8s.io/v1/gatewayclasses/contour/status", change)
}

// setAddress does what the load balancers of a cloud do: it says where the service is reached from outside.
// kube-proxy lets packets for that address through to the service, on whichever node they arrive.
func setAddress(ctx context.Context, client *kubeapi.Client, cluster state.Cluster) error {
	ingress := []any{map[string]any{"ip": cluster.Plan.Gateway().String(), "ipMode": "VIP"}}
	change := map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": ingress}}}
	return client.Merge(ctx, "/api/v1/namespaces/projectcontour/services/envoy/status", change)
}

// fill makes the keys of the add-ons and fills the manifests, in the order of their names.
func fill(cluster state.Cluster, kit Kit, image string) ([]string, error) {
	loader, err := filepath.EvalSymlinks("/lib64")
	if err != nil {
		loader = "/lib" // where there is no such folder, the loader lies with the libraries
	}
	given := values{
		Image: image, Tools: kit.Programs, Loader: loader, DNS: cluster.Plan.DNS().String(), XDS: cluster.Plan.XDS().String(),
		ResolvesOutside: node.ResolvesOutside(), Listeners: Listeners,
	}
	keys := cluster.Keys()
	if given.Authority, err = encoded(keys.Certificate("ca")); err != nil {
		return nil, err
	}
	for _, each := range []struct {
		subject          pki.Subject
		certificate, key *string
	}{
		{serving("metrics-server", "metrics-server.kube-system.svc"), &given.MetricsCertificate, &given.MetricsKey},
		{serving("contour", "contour", "contour.projectcontour", "contour.projectcontour.svc"), &given.ContourCertificate, &given.ContourKey},
		{serving("envoy", "envoy"), &given.EnvoyCertificate, &given.EnvoyKey},
	} {
		if err := keys.Ensure("ca", each.subject); err != nil {
			return nil, err
		}
		if *each.certificate, err = encoded(keys.Certificate(each.subject.Name)); err != nil {
			return nil, err
		}
		if *each.key, err = encoded(keys.Key(each.subject.Name)); err != nil {
			return nil, err
		}
	}
	return render(given)
}

func serving(name string, names ...string) pki.Subject {
	return pki.Subject{Name: name, User: name, Names: names}
}

func render(given values) ([]string, error) {
	templates, err := template.New("").Option("missingkey=error").ParseFS(files, "manifests/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("failed to read the manifests: %w", err)
	}
	entries, err := files.ReadDir("manifests")
	if err != nil {
		return nil, fmt.Errorf("failed to list the manifests: %w", err)
	}
	var filled []string
	for _, entry := range entries {
		var text strings.Builder
		if err := templates.ExecuteTemplate(&text, entry.Name(), given); err != nil {
			return nil, fmt.Errorf("failed to fill %s: %w", entry.Name(), err)
		}
		filled = append(filled, text.String())
	}
	return filled, nil
}

func encoded(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("failed to read a key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(content), nil
}
