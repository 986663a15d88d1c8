// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/selvage-net/selvage/api/v1alpha1"
	"github.com/selvage-net/selvage/controllers"
	"github.com/selvage-net/selvage/controllers/ownership"
)

// settings are what the flags say.
type settings struct {
	kubeconfig, namespace    string
	metricsAddr, healthAddr  string
	leaderElect              bool
	qps                      float32
	burst                    int
	logLevel, logFormat      string
	leaseDuration            time.Duration
	claimTimeout, graceAfter time.Duration
	maxRemovals              float64
}

const long = `Decides which peer owns which addresses: grants ranges before peers run dry,
takes peers out of the network once it is certain that they allocate no more,
and hands their ranges to exactly one heir.

Any number of controllers may run at once: every write is a compare-and-swap.
Leader election only saves them from doing the same work.`

// renewDeadline is controller-runtime's: how long a leader tries to renew.
const renewDeadline = 10 * time.Second

const examples = `  # In a cluster, two replicas:
  selvage-controller --leader-elect --namespace selvage-system

  # On a workstation, against the cluster that kubectl talks to:
  selvage-controller --kubeconfig ~/.kube/config --log-format console

  # Take over from silent peers after 20 seconds where an agent says so, and
  # begin no more than a tenth of the removals of vanished nodes at once:
  selvage-controller --leader-elect --lease-duration 20s --max-removals 0.1`

func newCommand() *cobra.Command {
	s := &settings{}
	cmd := &cobra.Command{
		Use:           "selvage-controller",
		Short:         "Decides which peer owns which addresses",
		Long:          long,
		Example:       examples,
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), s) },
	}
	s.addFlags(cmd.Flags())
	cmd.AddCommand(&cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "selvage-controller %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	})
	return cmd
}

func (s *settings) addFlags(f *pflag.FlagSet) {
	namespace := os.Getenv("POD_NAMESPACE")
	if namespace == "" {
		namespace = "selvage-system"
	}
	f.StringVar(&s.kubeconfig, "kubeconfig", "", "path of a kubeconfig; by default $KUBECONFIG, else the pod's own service account")
	f.StringVar(&s.namespace, "namespace", namespace, "where Selvage is installed: the peers' Leases and the leader's are there (default $POD_NAMESPACE)")
	f.StringVar(&s.metricsAddr, "metrics-bind-address", ":9781", "where to serve /metrics; 0: nowhere")
	f.StringVar(&s.healthAddr, "health-probe-bind-address", ":9782", "where to serve /healthz and /readyz; 0: nowhere")
	f.BoolVar(&s.leaderElect, "leader-elect", false, "let one of several controllers work at a time; safety does not depend on it. A new leader moves no addresses before every agent has compared its memory with the API, which may have been restored from a backup")
	f.Float32Var(&s.qps, "kube-api-qps", 100, "requests a second to the API server, on average")
	f.IntVar(&s.burst, "kube-api-burst", 200, "requests to the API server at once")
	f.StringVar(&s.logLevel, "log-level", "info", "debug, info or error")
	f.StringVar(&s.logFormat, "log-format", "json", "json or console")
	f.DurationVar(&s.leaseDuration, "lease-duration", time.Minute, "how long to watch a peer's Lease that is absent or carries no duration; otherwise the duration written in the Lease counts")
	f.DurationVar(&s.claimTimeout, "claim-timeout", time.Minute, "how long a claimed range may stay without an owner before it is swept")
	f.DurationVar(&s.graceAfter, "grace-period", 5*time.Minute, "how long a Node must be gone before its peer is removed without anybody asking")
	f.Float64Var(&s.maxRemovals, "max-removals", 0.2, "the share of the peers (three at least) that may be removed within the grace period without anybody asking; beyond it none is, until a person releases them")
}

// check refuses what could not work, naming the remedy.
func (s *settings) check() error {
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{{"lease-duration", s.leaseDuration}, {"claim-timeout", s.claimTimeout}, {"grace-period", s.graceAfter}} {
		if d.value < time.Second {
			return fmt.Errorf("--%s=%s is too short: use at least 1s", d.flag, d.value)
		}
	}
	// Put so that it refuses NaN too, above which nothing is: not even too many.
	if !(s.maxRemovals > 0 && s.maxRemovals <= 1) {
		return fmt.Errorf("--max-removals=%g is not a share of the peers: use a number above 0 and up to 1", s.maxRemovals)
	}
	if s.namespace == "" {
		return errors.New("--namespace is empty: name the namespace that Selvage is installed in")
	}
	if !(s.qps > 0) || s.burst <= 0 {
		return errors.New("--kube-api-qps and --kube-api-burst must be above 0")
	}
	if s.logFormat != "json" && s.logFormat != "console" {
		return fmt.Errorf("--log-format=%q is not known: use json or console", s.logFormat)
	}
	return nil
}

func (s *settings) config() ownership.Config {
	return ownership.Config{
		LeaseDuration: s.leaseDuration,
		ClaimTimeout:  s.claimTimeout,
		GracePeriod:   s.graceAfter,
		MaxRemovals:   s.maxRemovals,
		Seed:          rand.Uint64(),
	}
}

func (s *settings) restConfig() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = s.kubeconfig
	var cfg *rest.Config
	var err error
	if s.kubeconfig == "" && os.Getenv("KUBECONFIG") == "" {
		cfg, err = rest.InClusterConfig()
	}
	if cfg == nil {
		cfg, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w (use --kubeconfig outside a cluster)", err)
	}
	cfg.QPS, cfg.Burst = s.qps, s.burst
	cfg.UserAgent = "selvage-controller/" + version
	return cfg, nil
}

func (s *settings) setUpLogging() error {
	level, err := zapcore.ParseLevel(s.logLevel)
	if err != nil {
		return fmt.Errorf("--log-level=%q is not known: use debug, info or error", s.logLevel)
	}
	logger := zap.New(zap.Level(level), zap.UseDevMode(s.logFormat == "console"), zap.StacktraceLevel(zapcore.PanicLevel))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	return nil
}

func run(ctx context.Context, s *settings) error {
	if err := s.check(); err != nil {
		return err
	}
	if err := s.setUpLogging(); err != nil {
		return err
	}
	cfg, err := s.restConfig()
	if err != nil {
		return err
	}
	stop := 5 * time.Second
	options, config := manager.Options{
		Scheme:                  controllers.Scheme(),
		MapperProvider:          controllers.Mapper,
		Cache:                   controllers.CacheOptions(s.namespace),
		Metrics:                 metricsserver.Options{BindAddress: s.metricsAddr},
		HealthProbeBindAddress:  s.healthAddr,
		GracefulShutdownTimeout: &stop,
	}, s.config()
	if s.leaderElect {
		lock, err := leaderLock(cfg, s.namespace)
		if err != nil {
			return err
		}
		options.LeaderElection, options.LeaderElectionReleaseOnCancel = true, true
		options.LeaderElectionResourceLockInterface = lock
		config.Term = lock.Identity()
	}
	mgr, err := manager.New(cfg, options)
	if err != nil {
		return fmt.Errorf("setting up: %w", err)
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if _, err = controllers.Add(mgr, controllers.Options{
		Namespace: s.namespace, Config: config, Metrics: ctrlmetrics.Registry, Regressed: end,
	}); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	ctrl.Log.Info("starting", "version", version, "namespace", s.namespace, "leader-elect", s.leaderElect)
	err = mgr.Start(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, controllers.ErrRegressed) {
		// What runs this starts it anew: as another leader, for whom every
		// agent compares its memory with the API first.
		return errors.Join(fmt.Errorf("this term of leadership ends: %w", cause), err)
	}
	return err
}

// leaderLock is the Lease that leaders hold, under an identity of this process
// alone: it names the term for which agents compare their memory with the API.
func leaderLock(cfg *rest.Config, namespace string) (resourcelock.Interface, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("leader election: %w", err)
	}
	id := resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())}
	return resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, namespace, v1alpha1.LeaderLease, id, cfg, renewDeadline)
}
