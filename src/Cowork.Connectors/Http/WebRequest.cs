using Cowork.Application;

namespace Cowork.Connectors;

/// <summary>A request to a web service as the port has it.</summary>
/// <param name="Limit">Elements of a JSON list that are shown.</param>
/// <param name="IdempotencyToken">The same at each attempt of a write; null: it is a read.</param>
sealed record WebRequest(HttpCall Call, int Limit, string? IdempotencyToken)
{
    /// <param name="isRead">Which calls change nothing; null: as HTTP has it.</param>
    /// <param name="fault">Why it is none, as a sentence for the model.</param>
    /// <returns>Null: see <paramref name="fault"/>.</returns>
    public static WebRequest? Of(ConnectorRequest request, Func<HttpCall, bool>? isRead, out string? fault)
    {
        var (text, limit, token) = request switch
        {
            ConnectorRequest.Sample sample => (sample.Name, sample.Limit, null),
            ConnectorRequest.Query query => (query.Text, query.Limit, null),
            ConnectorRequest.Write write => (write.Text, write.Limit, write.IdempotencyToken),
            _ => throw new System.Diagnostics.UnreachableException(request.GetType().Name),
        };
        if (HttpCall.Read(text, out fault) is not { } call)
        {
            return null;
        }
        if (token is null && !(isRead?.Invoke(call) ?? call.IsRead))
        {
            fault = "A request that may change something is a write: ask for it with the action \"write\".";
            return null;
        }
        return new(call, limit, token);
    }
}
