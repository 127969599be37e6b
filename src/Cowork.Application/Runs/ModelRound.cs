using System.Collections.Immutable;
using System.Text;

using Cowork.Application.Models;
using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>Reads one answer of a model as it streams, handing text on in pieces no older than a limit.</summary>
/// <param name="showThinking">The policy shows thinking, so that it is handed on too.</param>
sealed class ModelRound(Run.Active run, TimeSpan every, bool showThinking, TimeProvider clock)
{
    readonly StreamedText text = new();
    readonly StreamedText thinking = new();
    readonly List<FunctionCallContent> calls = [];
    UsageDetails? usage;
    string? model;
    string? reasoning;
    ChatFinishReason? reason;

    /// <summary>When the round began: the request is sent right after.</summary>
    readonly DateTimeOffset askedAt = Millisecond(clock);

    DateTimeOffset? firstTokenAt;

    /// <summary>The whole text.</summary>
    public string Text => text.ToString();

    /// <summary>The text that was not handed on yet.</summary>
    public string Tail => text.Tail;

    /// <summary>The shown thinking that was not handed on yet.</summary>
    public string ThinkingTail => thinking.Tail;

    /// <param name="commit">Takes a piece of text; the next one is not handed on before it is done.</param>
    /// <param name="commitThinking">Takes a piece of thinking.</param>
    public async Task Read(IAsyncEnumerable<ChatResponseUpdate> answer, Func<string, Task> commit, Func<string, Task> commitThinking, CancellationToken ct)
    {
        using var reading = CancellationTokenSource.CreateLinkedTokenSource(ct);
        var updates = answer.GetAsyncEnumerator(reading.Token);
        Task<bool>? moving = null;
        try
        {
            long? since = null;
            while (true)
            {
                moving ??= updates.MoveNextAsync().AsTask();
                if (since is { } started && !moving.IsCompleted)
                {
                    var left = every - clock.GetElapsedTime(started);
                    if (left > TimeSpan.Zero)
                    {
                        using var timer = CancellationTokenSource.CreateLinkedTokenSource(ct);
                        await Task.WhenAny(moving, Task.Delay(left, clock, timer.Token));
                        await timer.CancelAsync();
                    }
                }
                if (since is { } first && clock.GetElapsedTime(first) >= every)
                {
                    await thinking.HandOn(commitThinking);
                    await text.HandOn(commit);
                    since = null;
                }
                if (!moving.IsCompleted && since is not null)
                {
                    continue;
                }
                if (!await moving)
                {
                    return;
                }
                moving = null;
                Take(updates.Current);
                if (text.HasTail || thinking.HasTail)
                {
                    since ??= clock.GetTimestamp();
                }
            }
        }
        finally
        {
            if (moving is { IsCompleted: false })
            {
                // An enumerator must not be disposed while it moves. After a piece that could not be handed on the next one is not awaited: it may be minutes away.
                await reading.CancelAsync();
                await moving.ContinueWith(static t => _ = t.Exception, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
            }
            await updates.DisposeAsync();
        }
    }

    /// <summary>What the model answered apart from its text.</summary>
    /// <param name="price">Null: the model has none.</param>
    public async ValueTask<Answer> Answer(Prompt prompt, ModelPrice? price, IBlobs blobs, CancellationToken ct)
    {
        var taken = run.Transcript.OfType<ConversationEntry.ByModel>().SelectMany(m => m.Calls).Select(c => c.Id).ToHashSet();
        var requested = ImmutableList.CreateBuilder<RequestedCall>();
        foreach (var call in calls)
        {
            var id = call.CallId is { Length: > 0 and <= Limits.IdCharsMax } given ? StorableText.Escape(given) : "";
            if (id.Length == 0 || !taken.Add(id))
            {
                id = $"call_{run.StepsDone + 1}_{requested.Count + 1}";
                taken.Add(id);
            }
            requested.Add(new(id, Word(call.Name), await blobs.Store(CallArguments.Text(call), ct)));
        }
        var stop = StopReason(requested.Count);
        return new(
            Model, stop, prompt.Sha256, InputTokens, OutputTokens, Cost(price), requested.ToImmutable(), usage?.CachedInputTokenCount, TokenEstimate.IsEstimated(usage),
            reasoning is null ? null : await blobs.Store(reasoning, ct), WhyNotCalled(stop), prompt.Feedback, askedAt, firstTokenAt);
    }

    /// <summary>Tells traces and metrics what the answer was, apart from what it says.</summary>
    public void Describe(ModelCall call, ModelPrice? price) => call.Complete(Model, StopReason(calls.Count), InputTokens, OutputTokens, Cost(price));

    string Model => string.IsNullOrWhiteSpace(model) ? run.Request.Model : Word(model);

    long InputTokens => usage?.InputTokenCount ?? 0;

    long OutputTokens => usage?.OutputTokenCount ?? 0;

    long? Cost(ModelPrice? price) => price?.CostMicroUsd(InputTokens, OutputTokens, usage?.CachedInputTokenCount ?? 0);

    /// <summary>An answer that was cut at its limit says so, even when it asks for tools.</summary>
    string StopReason(int calls) => reason is { } given && given != ChatFinishReason.Stop && given != ChatFinishReason.ToolCalls
        ? Word(given.Value)
        : (calls > 0 ? ChatFinishReason.ToolCalls : ChatFinishReason.Stop).Value;

    /// <summary>Why none of the calls of an answer is made: it was cut off, and one of them may have half of its arguments. Null: they may be made.</summary>
    internal static string? WhyNotCalled(string stopReason) => AnswerEnd.IsCut(stopReason) ? CutCall(stopReason) : null;

    static string CutCall(string stopReason) => $"Not called: the answer that asked for this was cut off ({stopReason}).";

    /// <summary>A word of the model's or its provider's, whatever they put there.</summary>
    static string Word(string given) => StorableText.Escape(FileText.Truncate(given, Limits.IdCharsMax));

    void Take(ChatResponseUpdate update)
    {
        model ??= update.ModelId;
        reason = update.FinishReason ?? reason;
        foreach (var content in update.Contents)
        {
            if (content is TextContent { Text.Length: > 0 } or TextReasoningContent or FunctionCallContent)
            {
                firstTokenAt ??= Millisecond(clock);
            }
            switch (content)
            {
                case TextContent piece:
                    text.Append(piece.Text);
                    break;
                case TextReasoningContent thought:
                    reasoning = thought.ProtectedData ?? reasoning;
                    thinking.Append(showThinking ? thought.Text : null);
                    break;
                case FunctionCallContent call:
                    calls.Add(call);
                    break;
                case UsageContent used:
                    usage ??= new();
                    usage.Add(used.Details);
                    break;
            }
        }
    }

    /// <summary>The time as events hold it.</summary>
    internal static DateTimeOffset Millisecond(TimeProvider clock) => DateTimeOffset.FromUnixTimeMilliseconds(clock.GetUtcNow().ToUnixTimeMilliseconds());

    /// <summary>A text that grows, and that is handed on from where the last piece ended.</summary>
    sealed class StreamedText
    {
        readonly StringBuilder text = new();
        int handedOn;

        public bool HasTail => text.Length > handedOn;

        public string Tail => StorableText.Escape(text.ToString(handedOn, text.Length - handedOn));

        public void Append(string? piece) => text.Append(piece);

        public override string ToString() => text.ToString();

        public async Task HandOn(Func<string, Task> commit)
        {
            while (HasTail)
            {
                var length = Math.Min(Limits.DeltaCharsMax, text.Length - handedOn);
                if (char.IsHighSurrogate(text[handedOn + length - 1]))
                {
                    // Its other half has not come yet, or goes into the next piece.
                    length--;
                }
                if (length == 0)
                {
                    return;
                }
                var piece = text.ToString(handedOn, length);
                await commit(StorableText.Escape(piece));
                handedOn += length;
            }
        }
    }
}
