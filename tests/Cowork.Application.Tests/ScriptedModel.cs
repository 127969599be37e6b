using System.Runtime.CompilerServices;

using Cowork.Application.Models;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Tests;

/// <summary>
/// A model that says what it is told to: the first word of the user's message is the text, every further line <c>NAME {json}</c> a call of the first round.
/// It counts how often it is asked, in which round.
/// </summary>
sealed class ScriptedModel : IChatClient
{
    public List<int> Rounds { get; } = [];

    /// <summary>The tools that it was offered, each time that it was asked.</summary>
    public List<IReadOnlyList<AIFunctionDeclaration>> Offered { get; } = [];

    /// <summary>What tools had answered when it was asked last.</summary>
    public IReadOnlyList<string> Told { get; private set; } = [];

    /// <summary>Waited for before anything is answered.</summary>
    public Func<CancellationToken, Task> Before { get; set; } = _ => Task.CompletedTask;

    /// <summary>Null: it has none.</summary>
    public ModelPrice? Price { get; init; }

    /// <summary>It asks for its calls in every round, whatever it has been told.</summary>
    public bool Loops { get; init; }

    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var all = messages.ToList();
        var user = all.FindLastIndex(m => m.Role == ChatRole.User);
        var lines = all[user].Text.Split('\n');
        var answered = all.Skip(user).SelectMany(m => m.Contents).OfType<FunctionResultContent>().ToList();
        Offered.Add([.. (options?.Tools ?? []).OfType<AIFunctionDeclaration>()]);
        Rounds.Add(answered.Count == 0 ? 1 : 2);
        Told = [.. answered.Select(result => (string)result.Result!)];
        await Before(cancellationToken);
        if ((answered.Count == 0 || Loops) && lines.Length > 1)
        {
            for (var i = 1; i < lines.Length; i++)
            {
                var space = lines[i].IndexOf(' ', StringComparison.Ordinal);
                yield return new(ChatRole.Assistant, [CallArguments.Call($"call_{i}", lines[i][..space], lines[i][(space + 1)..])]);
            }
        }
        else
        {
            yield return new(ChatRole.Assistant, $"{lines[0]} ");
            yield return new(ChatRole.Assistant, answered.Count == 0 ? "said" : $"after {answered.Count} results");
        }
        yield return new(ChatRole.Assistant, [new UsageContent(new() { InputTokenCount = 3, OutputTokenCount = 2 })]);
    }

    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    public object? GetService(Type serviceType, object? serviceKey = null) =>
        serviceType == typeof(ModelTerms) && Price is not null ? new ModelTerms(Price, 100, ModelRetries.None) : null;

    public void Dispose()
    {
    }
}
