using System.Runtime.CompilerServices;

using Cowork.Application.Models;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Tests;

/// <summary>A model whose calls are reserved at one US dollar each. Any number of hosts may ask it at once.</summary>
sealed class PricedModel : IChatClient
{
    /// <summary>Micro-USD of an output token, and tokens of the longest answer.</summary>
    public const int TokenPrice = 10_000, TokensMax = 100;

    int asked;

    public int Asked => asked;

    /// <summary>Waited for before an answer; it is told which call it is, from 1.</summary>
    public Func<int, CancellationToken, Task> Before { get; set; } = (_, _) => Task.CompletedTask;

    /// <summary>Output tokens of an answer.</summary>
    public int Tokens { get; set; } = TokensMax;

    public ModelRetries Retries { get; set; } = ModelRetries.None;

    /// <summary>False: the operator has taken the price away.</summary>
    public bool IsPriced { get; set; } = true;

    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        await Before(Interlocked.Increment(ref asked), cancellationToken);
        yield return new(ChatRole.Assistant, """{"summary":"Said."}""");
        yield return new(ChatRole.Assistant, [new UsageContent(new() { InputTokenCount = 3, OutputTokenCount = Tokens })]);
    }

    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    public object? GetService(Type serviceType, object? serviceKey = null) =>
        serviceType == typeof(ModelTerms) ? new ModelTerms(IsPriced ? new(0, TokenPrice) : null, TokensMax, Retries) : null;

    public void Dispose()
    {
    }
}
