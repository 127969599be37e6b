using Cowork.Application;
using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>The header <c>Idempotency-Key</c>.</summary>
static class IdempotencyHeader
{
    /// <summary>The key; null: the request has no such header, or the errors say what is wrong with it.</summary>
    public static string? Read(HttpContext http, ValidationErrors errors)
    {
        if (!http.Request.Headers.TryGetValue(RequestKey.Place, out var sent))
        {
            return null;
        }
        if (sent is [{ Length: > 0 and <= Limits.IdempotencyKeyCharsMax } key] && key.All(c => c is >= ' ' and <= '~'))
        {
            return key;
        }
        errors.Add(RequestKey.Place, $"Must be 1 to {Limits.IdempotencyKeyCharsMax} printable ASCII characters, once.");
        return null;
    }

    /// <summary>Principal, method and path: what the key is unique in.</summary>
    public static string Scope(HttpContext http) => $"{Caller.Of(http).Actor} {http.Request.Method} {http.Request.Path.Value}";
}
