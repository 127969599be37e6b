using System.Diagnostics;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>One request to a model as traces and metrics show it: which model, how long, how many tokens, what for. Never what was said.</summary>
sealed class ModelCall : IDisposable
{
    const string Other = "_OTHER";

    readonly Activity? span;
    readonly TimeProvider clock;
    readonly long began;
    TagList tags;
    string? failed = "cancelled";
    bool ended;

    ModelCall(IChatClient model, string called, string runId, string sessionId, TimeProvider clock)
    {
        this.clock = clock;
        var metadata = model.GetService(typeof(ChatClientMetadata)) as ChatClientMetadata;
        tags.Add("gen_ai.operation.name", "chat");
        tags.Add("gen_ai.provider.name", metadata?.ProviderName ?? Other);
        tags.Add("gen_ai.request.model", metadata?.DefaultModelId ?? called);
        if (metadata?.ProviderUri is { } uri)
        {
            tags.Add("server.address", uri.Host);
            tags.Add("server.port", uri.Port);
        }
        if (Spans.Source.HasListeners() && Spans.Source.StartActivity($"chat {called}", ActivityKind.Client) is { } started)
        {
            span = started.SetTag("cowork.run_id", runId).SetTag("cowork.session_id", sessionId).SetTag("gen_ai.conversation.id", sessionId);
            foreach (var (name, value) in tags)
            {
                span.SetTag(name, value);
            }
        }
        began = clock.GetTimestamp();
    }

    /// <summary>Null: nobody looks.</summary>
    /// <param name="called">By which the run calls the model.</param>
    public static ModelCall? Begin(IChatClient model, string called, string runId, string sessionId, TimeProvider clock) =>
        Spans.Source.HasListeners() || Measures.ModelDuration.Enabled ? new(model, called, runId, sessionId, clock) : null;

    /// <param name="code">What the run would fail with.</param>
    public void Failed(string code)
    {
        failed = code;
        span.Failed(code);
        Dispose();
    }

    public void Answered(string? model, string stopReason, long input, long output, long? costMicroUsd)
    {
        failed = null;
        tags.Add("gen_ai.response.model", model);
        span?.SetTag("gen_ai.response.model", model).SetTag("gen_ai.response.finish_reasons", new[] { stopReason })
            .SetTag("gen_ai.usage.input_tokens", input).SetTag("gen_ai.usage.output_tokens", output);
        Measures.ModelTokens.Record(input, [.. tags, new("gen_ai.token.type", "input")]);
        Measures.ModelTokens.Record(output, [.. tags, new("gen_ai.token.type", "output")]);
        if (costMicroUsd is { } cost)
        {
            span?.SetTag("cowork.model.cost_usd", cost / 1e6);
            Measures.ModelCost.Add(cost / 1e6, tags);
        }
    }

    public void Dispose()
    {
        if (ended)
        {
            return;
        }
        ended = true;
        if (failed is not null)
        {
            tags.Add("error.type", failed);
        }
        Measures.ModelDuration.Record(clock.GetElapsedTime(began).TotalSeconds, tags);
        span?.Dispose();
    }
}
