using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>
/// A model gave no complete answer. The message becomes the run's error: it contains no secret, and of a response's body the reason only.
/// </summary>
public sealed class ModelException : Exception
{
    /// <summary>The model is unreachable or overloaded, or did not start to answer in time.</summary>
    public const string Unavailable = "model_unavailable";

    /// <summary>The model started to answer, and the answer broke off or was malformed.</summary>
    public const string Failed = "model_failed";

    /// <summary>The model rejected the request and would reject it again: a wrong key, an unknown model, a prompt that is too long.</summary>
    public const string Refused = "model_refused";

    public ModelException()
    {
    }

    public ModelException(string message)
        : base(message)
    {
    }

    public ModelException(string message, Exception inner)
        : base(message, inner)
    {
    }

    public ModelException(string code, string message, Exception? inner = null)
        : base(message, inner) => Code = code;

    /// <summary>The error code that the run fails with.</summary>
    public string Code { get; } = Failed;

    /// <summary>The same request may succeed later.</summary>
    public bool CanRetry => Code != Refused;

    /// <summary>True: the provider certainly did nothing for the request, so that it costs nothing.</summary>
    public bool IsUnbilled { get; init; }

    /// <summary>The delay that the provider asked for.</summary>
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>What the provider said that the broken answer used; null: it said nothing.</summary>
    public UsageDetails? Usage { get; init; }
}
