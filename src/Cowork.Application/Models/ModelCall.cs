using System.Diagnostics;

using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>The span and metrics of one request to a model: the model, duration, tokens and cost. Never messages or answers.</summary>
sealed class ModelCall : IDisposable
{
    const string UnknownProvider = "_OTHER";

    readonly Activity? span;
    readonly TimeProvider clock;
    readonly long started;
    TagList tags;
    string? errorType = "cancelled";
    bool ended;

    ModelCall(IChatClient model, string modelName, RunKey run, SessionKey session, TimeProvider clock)
    {
        this.clock = clock;
        var metadata = model.GetService(typeof(ChatClientMetadata)) as ChatClientMetadata;
        tags.Add("gen_ai.operation.name", "chat");
        tags.Add("gen_ai.provider.name", metadata?.ProviderName ?? UnknownProvider);
        tags.Add("gen_ai.request.model", metadata?.DefaultModelId ?? modelName);
        if (metadata?.ProviderUri is { } uri)
        {
            tags.Add("server.address", uri.Host);
            tags.Add("server.port", uri.Port);
        }
        if (Spans.Source.HasListeners() && Spans.Source.StartActivity($"chat {modelName}", ActivityKind.Client) is { } activity)
        {
            span = activity.SetTag("cowork.run_id", run.Id).SetTag("cowork.session_id", session.Id).SetTag("gen_ai.conversation.id", session.Id);
            foreach (var (name, value) in tags)
            {
                span.SetTag(name, value);
            }
        }
        started = clock.GetTimestamp();
    }

    /// <summary>Null: neither traces nor metrics are collected.</summary>
    /// <param name="modelName">The model's configured name.</param>
    public static ModelCall? Start(IChatClient model, string modelName, RunKey run, SessionKey session, TimeProvider clock) =>
        Spans.Source.HasListeners() || Measures.ModelDuration.Enabled ? new(model, modelName, run, session, clock) : null;

    /// <param name="code">The error code that the run would fail with.</param>
    public void Fail(string code)
    {
        errorType = code;
        span.SetError(code);
        Dispose();
    }

    public void Complete(string? model, string stopReason, long input, long output, long? costMicroUsd)
    {
        errorType = null;
        tags.Add("gen_ai.response.model", model);
        span?.SetTag("gen_ai.response.model", model).SetTag("gen_ai.response.finish_reasons", new[] { stopReason })
            .SetTag("gen_ai.usage.input_tokens", input).SetTag("gen_ai.usage.output_tokens", output);
        Measures.ModelTokens.Record(input, [.. tags, new("gen_ai.token.type", "input")]);
        Measures.ModelTokens.Record(output, [.. tags, new("gen_ai.token.type", "output")]);
        if (costMicroUsd is { } cost)
        {
            span?.SetTag("cowork.model.cost_usd", (double)Money.Usd(cost));
            Measures.ModelCost.Add((double)Money.Usd(cost), tags);
        }
    }

    public void Dispose()
    {
        if (ended)
        {
            return;
        }
        ended = true;
        if (errorType is not null)
        {
            tags.Add("error.type", errorType);
        }
        Measures.ModelDuration.Record(clock.GetElapsedTime(started).TotalSeconds, tags);
        span?.Dispose();
    }
}
