using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>A group's conversation as the model of one of its agents is told it.</summary>
static class GroupConversation
{
    /// <summary>What the model is told of its part.</summary>
    public static string RoleText(RunAgent agent) =>
        $"You are the agent @{agent.Nickname} in a conversation of several people and agents. What others said before is quoted, each after the name of who said it. "
        + "Your answer is shown to all of them. Write @ and the nickname of another agent only when that agent is to answer you.";

    /// <summary>What the model is told of the message behind the conversation.</summary>
    public static string LastText(RunAgent agent) =>
        $"The last message, which is not quoted, is by {(agent.CalledBy is null ? "" : "the agent @")}{agent.By}. Answer it.";

    /// <summary>
    /// What was said before: the agent's own answers as its own, what others said as messages. Each line of theirs is quoted, so that nobody can say something in the name of
    /// somebody else. An answer of its own that nothing goes before is left out, because some providers refuse a conversation that begins with one.
    /// </summary>
    public static async ValueTask<IReadOnlyList<ChatMessage>> Messages(
        string org, RunAgent agent, IReadOnlyList<GroupEntry> conversation, IEarlierTurns earlier, IBlobs blobs, CancellationToken ct)
    {
        var messages = new List<ChatMessage>();
        var texts = await earlier.Said(org, conversation, ct);
        foreach (var (entry, content) in conversation.Zip(texts))
        {
            if (content is null)
            {
                continue;
            }
            var text = await blobs.Text(content, ct);
            if (entry.AgentId != agent.Id)
            {
                messages.Add(new(ChatRole.User, $"{(entry.AgentId is null ? "" : "@")}{entry.By}:\n> {text.ReplaceLineEndings("\n> ")}"));
            }
            else if (messages.Count > 0)
            {
                messages.Add(new(ChatRole.Assistant, text));
            }
        }
        return messages;
    }
}
