using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>How large a client's request would be. A client that knows returns it from <see cref="IChatClient.GetService"/>.</summary>
/// <param name="Bytes">Bytes of the request's body.</param>
public sealed record RequestSize(Func<IReadOnlyList<ChatMessage>, ChatOptions, long> Bytes)
{
    /// <summary>Estimate of the request's input tokens, as of what a provider does not report.</summary>
    public static long Of(IChatClient model, IReadOnlyList<ChatMessage> messages, ChatOptions options) => TokenEstimate.Of(
        model.GetService(typeof(RequestSize)) is RequestSize size ? size.Bytes(messages, options) : messages.Sum(message => TokenEstimate.BytesOf(message.Text)));
}
