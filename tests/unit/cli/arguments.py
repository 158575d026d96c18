"""Argument lists of the pickers that users run today, as their charts and manifests render them."""

IGW_0_3 = ["-poolName", "phi", "-v", "4", "--zap-encoder", "json", "-grpcPort", "9002", "-grpcHealthPort", "9003"]
"""Gateway API Inference Extension 0.3: config/manifests/inferencepool-resources.yaml."""

SCHEDULER_0_2_1 = [
    *("-poolName", "phi", "-poolNamespace", "llm", "--v", "1", "--zap-encoder", "json"),
    *("--grpcPort", "9002", "-grpcHealthPort", "9003", "-metricsPort", "9090"),
    *("-configFile", "CONFIG", "--enablePprof=true", "--modelServerMetricsPath=/metrics"),
    *("--modelServerMetricsScheme=http", "--modelServerMetricsHttpsInsecureSkipVerify=true"),
]
"""llm-d-inference-scheduler 0.2.1 in the inferencepool chart 0.5.1."""

SCHEDULER_0_2_1_TRITON = [
    *SCHEDULER_0_2_1,
    *("-totalQueuedRequestsMetric", "nv_trt_llm_request_metrics{request_type=waiting}"),
    *("-kvCacheUsagePercentageMetric", "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}"),
    *("-loraInfoMetric", ""),
]
"""The same with modelServerType: triton-tensorrt-llm."""

MODELSERVICE_0_2 = [
    *("--poolName", "phi", "--poolNamespace", "llm", "-v", "4", "--zap-encoder", "json"),
    *("--grpcPort", "9002", "--grpcHealthPort", "9003", "-configFile", "CONFIG"),
]
"""The llm-d-modelservice chart, when it still brought a picker."""

IGW_1_0 = [
    *("--pool-name", "phi", "--pool-namespace", "llm", "--pool-group", "inference.networking.x-k8s.io"),
    *("--zap-encoder", "json", "--config-file", "CONFIG", "--v", "1", "--grpc-port", "9002"),
    *("--grpc-health-port", "9003", "--metrics-port", "9090", "--enable-pprof=true"),
    *("--model-server-metrics-path=/metrics", "--model-server-metrics-scheme=http"),
    *("--model-server-metrics-https-insecure-skip-verify=true", "--ha-enable-leader-election"),
]
"""Gateway API Inference Extension 1.0 in its chart, with two replicas."""

SCHEDULER_0_4_0 = [
    *("--pool-name", "phi", "--pool-namespace", "llm", "--zap-encoder", "json", "--config-file", "CONFIG"),
    *("--kv-cache-usage-percentage-metric", "vllm:kv_cache_usage_perc", "--v", "1"),
    *("--enable-pprof", "false", "--refresh-metrics-interval", "50ms", "--tracing=false"),
    "--metrics-endpoint-auth=false",
]
"""llm-d-inference-scheduler 0.4.0 in the inferencepool chart 1.2, with flags of values.yaml, a bool in two words."""

ROUTER_0_10 = [
    *("--pool-name", "phi", "--pool-namespace", "llm", "--pool-group", "inference.networking.k8s.io"),
    *("--zap-encoder", "json", "--config-file", "CONFIG", "--ha-enable-leader-election"),
    *("--grpc-health-port", "9003", "--drain-timeout=60s", "--refresh-metrics-interval=50000000", "--v=1"),
    *("--tracing=false", "--metrics-endpoint-auth=false"),
]
"""llm-d-router 0.10 in its chart with two replicas and an InferencePool."""

ROUTER_0_10_STANDALONE = [
    *("--endpoint-selector", "app=phi,tier!=test", "--endpoint-target-ports", "8000,8001"),
    *("--zap-encoder", "json", "--config-file", "CONFIG", "--grpc-health-port", "9003"),
    *("--secure-serving=false", "--health-checking=true", "--allow-experimental-plugins=false", "--tracing=true"),
]
"""The same without an InferencePool, behind an agentgateway."""

KSERVE = [
    *("--pool-name", "phi", "--pool-namespace", "llm", "--pool-group", "inference.networking.x-k8s.io"),
    *("--zap-encoder", "json", "--grpc-port", "9002", "--grpc-health-port", "9003", "--secure-serving"),
    *("--model-server-metrics-scheme", "https", "--enable-pprof", "--zap-log-level", "debug"),
    *("--cert-path", "/var/run/kserve/tls", "--config-text", "TEXT"),
]
"""The scheduler of a KServe LLMInferenceService."""
