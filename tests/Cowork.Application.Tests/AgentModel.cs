using System.Runtime.CompilerServices;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Tests;

/// <summary>A model for agents of groups: what it says is a function of who answers and of what it is asked. It keeps every prompt.</summary>
/// <param name="says">From the agent's nickname and the message that it answers to its answer, or a line <c>NAME {json}</c> that calls a tool first.</param>
sealed class AgentModel(Func<string, string, string> says) : IChatClient
{
    const string Begin = "You are the agent @";

    /// <summary>Nickname and messages of each request.</summary>
    public List<(string Nickname, IReadOnlyList<ChatMessage> Messages)> Asked { get; } = [];

    /// <summary>The tools that each request offered.</summary>
    public List<IReadOnlyList<string>> Offered { get; } = [];

    /// <summary>Waited for before the agent of this nickname answers.</summary>
    public Func<string, CancellationToken, Task> Before { get; set; } = (_, _) => Task.CompletedTask;

    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var all = messages.ToList();
        var role = all.Find(m => m.Role == ChatRole.System && m.Text.StartsWith(Begin, StringComparison.Ordinal))!.Text[Begin.Length..];
        var nickname = role[..role.IndexOf(' ', StringComparison.Ordinal)];
        Asked.Add((nickname, all));
        Offered.Add([.. (options?.Tools ?? []).Select(tool => tool.Name)]);
        await Before(nickname, cancellationToken);
        var user = all.FindLastIndex(m => m.Role == ChatRole.User);
        var answer = says(nickname, all[user].Text);
        if (answer.EndsWith('}') && user == all.Count - 1)
        {
            var space = answer.IndexOf(' ', StringComparison.Ordinal);
            yield return new(ChatRole.Assistant, [CallArguments.Call("call_1", answer[..space], answer[(space + 1)..])]);
        }
        else
        {
            yield return new(ChatRole.Assistant, user == all.Count - 1 ? answer : "done");
        }
        yield return new(ChatRole.Assistant, [new UsageContent(new() { InputTokenCount = 3, OutputTokenCount = 2 })]);
    }

    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    public object? GetService(Type serviceType, object? serviceKey = null) => null;

    public void Dispose()
    {
    }
}
