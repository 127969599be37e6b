namespace Cowork.Application.Models;

/// <summary>
/// A model gave no whole answer. The message is for the run's error: it names no secret and holds no body.
/// </summary>
public sealed class ModelException : Exception
{
    /// <summary>The model could not be reached, is overloaded, or does not begin to answer.</summary>
    public const string Unavailable = "model_unavailable";

    /// <summary>The model began to answer, and the answer broke off or made no sense.</summary>
    public const string Failed = "model_failed";

    /// <summary>The model does not want this request, and will not want it a second time: a bad key, an unknown name, too long a prompt.</summary>
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

    /// <summary>What the run fails with.</summary>
    public string Code { get; } = Failed;

    /// <summary>The same request may get an answer later.</summary>
    public bool CanRetry => Code != Refused;

    /// <summary>How long the provider wants to be left alone.</summary>
    public TimeSpan? RetryAfter { get; init; }
}
