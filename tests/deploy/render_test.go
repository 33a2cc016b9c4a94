// Package deploy tests deploy/: that the manifests and the chart say the same, and what the chart refuses.
package deploy

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

var deployFolder = filepath.Join("..", "..", "deploy")

// objects are those of a rendering, by kind and name.
type objects map[string]map[string]any

// release is what `helm install paas --namespace paas` calls them.
var release = chartutil.ReleaseOptions{Name: "paas", Namespace: "paas", IsInstall: true, Revision: 1}

// render is what Helm makes of the chart with these values, in YAML.
func render(values string) (objects, error) {
	chart, err := loader.Load(filepath.Join(deployFolder, "chart", "paas"))
	if err != nil {
		return nil, err
	}
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		return nil, err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	merged, err := chartutil.ToRenderValues(chart, given, release, capabilities) // checks the schema too
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{Strict: true}.Render(chart, merged)
	if err != nil {
		return nil, err
	}
	found := objects{}
	for name, text := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		if err := found.read(text); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return found, nil
}

// manifests are what `kubectl kustomize` makes of an overlay.
func manifests(t *testing.T, overlay string) objects {
	t.Helper()
	return manifestsIn(t, filepath.Join(deployFolder, "kubernetes", overlay))
}

func manifestsIn(t *testing.T, folder string) objects {
	t.Helper()
	kustomizer := krusty.MakeKustomizer(krusty.MakeDefaultOptions())
	made, err := kustomizer.Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	text, err := made.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	found := objects{}
	if err := found.read(string(text)); err != nil {
		t.Fatal(err)
	}
	return found
}

func (o objects) read(text string) error {
	for _, part := range strings.Split("\n"+text, "\n---") {
		object := map[string]any{}
		if err := yaml.Unmarshal([]byte(part), &object); err != nil {
			return err
		}
		if len(object) == 0 {
			continue
		}
		metadata, _ := object["metadata"].(map[string]any)
		key := fmt.Sprintf("%v %v", object["kind"], metadata["name"])
		if _, twice := o[key]; twice {
			return fmt.Errorf("%s is there twice", key)
		}
		o[key] = object
	}
	return nil
}

// substance is an object without what the two ways of installing must say in different words: labels that only Helm sets, hashes of
// configuration and the comments in it, the order of volumes.
func substance(object map[string]any) map[string]any {
	copied := deepCopy(object).(map[string]any)
	strip(copied)
	if data, ok := copied["data"].(map[string]any); ok {
		for name, text := range data {
			var parsed any
			if err := yaml.Unmarshal([]byte(text.(string)), &parsed); err == nil {
				data[name] = parsed
			}
		}
	}
	return copied
}

func strip(value any) {
	switch value := value.(type) {
	case map[string]any:
		for _, field := range []string{"labels", "matchLabels", "selector"} {
			if labels, ok := value[field].(map[string]any); ok {
				for _, label := range []string{
					"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart",
				} {
					delete(labels, label)
				}
			}
		}
		if annotations, ok := value["annotations"].(map[string]any); ok {
			delete(annotations, "checksum/cluster")
			delete(annotations, "helm.sh/resource-policy")
			if len(annotations) == 0 {
				delete(value, "annotations")
			}
		}
		if volumes, ok := value["volumes"].([]any); ok {
			slices.SortFunc(volumes, func(a, b any) int { return strings.Compare(named(a), named(b)) })
		}
		for _, child := range value {
			strip(child)
		}
	case []any:
		for _, child := range value {
			strip(child)
		}
	}
}

func named(value any) string {
	object, _ := value.(map[string]any)
	return fmt.Sprint(object["name"])
}

func deepCopy(value any) any {
	switch value := value.(type) {
	case map[string]any:
		copied := maps.Clone(value)
		for key, child := range copied {
			copied[key] = deepCopy(child)
		}
		return copied
	case []any:
		copied := make([]any, len(value))
		for index, child := range value {
			copied[index] = deepCopy(child)
		}
		return copied
	default:
		return value
	}
}
