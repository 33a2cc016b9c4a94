package deploy

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// generated is the name of a config map of kustomize, with the hash of what is in it.
var generated = regexp.MustCompile(`\bpaas-cluster-[a-z0-9]{10}\b`)

func TestTheChartSaysWhatTheManifestsSay(t *testing.T) {
	for overlay, values := range map[string]string{
		"sqlite":   "",
		"postgres": "store: {type: postgres}",
	} {
		t.Run(overlay, func(t *testing.T) {
			chart, err := render(values)
			if err != nil {
				t.Fatal(err)
			}
			plain := manifests(t, overlay)
			delete(plain, "Namespace paas") // Helm makes it itself: --create-namespace
			named := objects{}
			for key, object := range plain {
				named[generated.ReplaceAllString(key, "paas-cluster")] = object
			}
			if missing := without(named, chart); len(missing) > 0 {
				t.Errorf("the chart has no %v", missing)
			}
			if more := without(chart, named); len(more) > 0 {
				t.Errorf("the manifests have no %v", more)
			}
			for key, object := range chart {
				one, other := text(t, substance(object)), generated.ReplaceAllString(text(t, substance(named[key])), "paas-cluster")
				if one != other {
					t.Errorf("%s differs.\nchart:\n%s\nmanifests:\n%s", key, one, other)
				}
			}
		})
	}
}

// A second installation in one cluster has another namespace and other names; whoever is bound to the role must follow.
func TestTheAccountIsBoundUnderAnyName(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "kubernetes")
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(deployFolder, "kubernetes"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(folder, "other"), 0o755); err != nil {
		t.Fatal(err)
	}
	overlay := "namespace: other\nnameSuffix: -other\nresources: [../sqlite]\n"
	if err := os.WriteFile(filepath.Join(folder, "other", "kustomization.yaml"), []byte(overlay), 0o644); err != nil {
		t.Fatal(err)
	}
	binding := text(t, manifestsIn(t, filepath.Join(folder, "other"))["ClusterRoleBinding paas-other"])
	if !strings.Contains(binding, "- kind: ServiceAccount\n  name: paas-other\n  namespace: other\n") {
		t.Errorf("another account is bound:\n%s", binding)
	}
}

func TestTheRolesAreThoseOfTheCrate(t *testing.T) {
	chart, err := render("")
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"paas": "rbac.yaml", "paas-manifests": "rbac-manifests.yaml", "paas-operations": "rbac-operations.yaml",
	} {
		original := read(t, filepath.Join("..", "..", "crates", "paas-k8s", file))
		for _, folder := range []string{filepath.Join("kubernetes", "base"), filepath.Join("chart", "paas", "files")} {
			if read(t, filepath.Join(deployFolder, folder, file)) != original {
				t.Errorf("%s in %s differs from the one in crates/paas-k8s; copy it", file, folder)
			}
		}
		var wanted map[string]any
		if err := yaml.Unmarshal([]byte(original), &wanted); err != nil {
			t.Fatal(err)
		}
		if role := chart["ClusterRole "+name]; role == nil || !reflect.DeepEqual(role["rules"], wanted["rules"]) {
			t.Errorf("the chart's role %s differs: %v", name, role)
		}
		if chart["ClusterRoleBinding "+name] == nil {
			t.Errorf("the chart binds nobody to %s", name)
		}
	}
	less, err := render("rbac: {manifests: false, operations: false}")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"paas-manifests", "paas-operations"} {
		if less["ClusterRole "+name] != nil || less["ClusterRoleBinding "+name] != nil {
			t.Errorf("%s is there although it was left out", name)
		}
	}
}

func TestWrongValuesAreRefusedByTheirName(t *testing.T) {
	for values, wanted := range map[string]string{
		"stor: {type: postgres}":                     "stor",
		"store: {type: mysql}":                       "store",
		"replicas: 2":                                "replicas",
		"cluster: {name: Not_A_Name}":                "cluster",
		"ingress: {enabled: true}":                   "host",
		"httpRoute: {enabled: true}":                 "parentRefs",
		"serviceAccount: {create: false}":            "serviceAccount.name",
		"image: {repository: ''}":                    "repository",
		"service: {port: 70000}":                     "port",
		"store: {type: postgres, sqlite: {size: x}}": "size",
	} {
		if _, err := render(values); err == nil || !strings.Contains(err.Error(), wanted) {
			t.Errorf("%s: the error names %q: %v", values, wanted, err)
		}
	}
}

func TestWhatIsOptionalIsThereWhenItIsAskedFor(t *testing.T) {
	found, err := render(`
store: {type: postgres}
replicas: 3
cluster: {name: here, options: {gateway: {namespace: infra, name: public, domain: apps.example.org}}}
httpRoute: {enabled: true, parentRefs: [{name: public, namespace: infra}], hostnames: [paas.example.org]}
ingress: {enabled: true, className: nginx, host: paas.example.org, tlsSecret: paas-tls}
serviceAccount: {annotations: {example.org/role: paas}}
image: {repository: mirror.example.org/paas, tag: 1.2.3, pullSecrets: [registry]}
extraArgs: [--label-domain=paas.example.org]
extraEnv: [{name: PAAS_LOG, value: debug}]
networkPolicy: {enabled: false}
`)
	if err != nil {
		t.Fatal(err)
	}
	for key, wanted := range map[string][]string{
		"Deployment paas": {
			"replicas: 3", "--in-cluster=here", "--label-domain=paas.example.org", "name: PAAS_LOG", "name: PAAS_STORE",
			"image: mirror.example.org/paas:1.2.3", "imagePullSecrets:\n      - name: registry",
		},
		"ConfigMap paas-cluster":   {"domain: apps.example.org"},
		"HTTPRoute paas":           {"- paas.example.org", "name: public"},
		"Ingress paas":             {"ingressClassName: nginx", "secretName: paas-tls", "host: paas.example.org"},
		"ServiceAccount paas":      {"example.org/role: paas"},
		"PodDisruptionBudget paas": {"maxUnavailable: 1"},
	} {
		for _, piece := range wanted {
			if shown := text(t, found[key]); !strings.Contains(shown, piece) {
				t.Errorf("%s has %q:\n%s", key, piece, shown)
			}
		}
	}
	if found["NetworkPolicy paas"] != nil || found["PersistentVolumeClaim paas"] != nil {
		t.Error("there is something that nobody asked for")
	}
}

func without(these, those objects) []string {
	var missing []string
	for key := range these {
		if those[key] == nil {
			missing = append(missing, key)
		}
	}
	slices.Sort(missing)
	return missing
}

func text(t *testing.T, object map[string]any) string {
	t.Helper()
	made, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(made)
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
