using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

using Cowork.Application;

namespace Cowork.Web;

/// <summary>
/// The certificate that the host shows. It looks at the files' contents every second, so that it sees a file that was replaced by a rename, or through a link that now
/// leads elsewhere (a mounted secret of Kubernetes), too. New handshakes get the new certificate, open connections go on with theirs; what cannot be used changes nothing.
/// </summary>
sealed partial class ServerCertificate
{
    const UnixFileMode OthersMayWrite = UnixFileMode.GroupWrite | UnixFileMode.OtherWrite;

    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);
    static readonly TimeSpan WarnEvery = TimeSpan.FromDays(1);

    /// <summary>Half of what a certificate of six weeks has left when most clients of ACME renew it.</summary>
    static readonly TimeSpan ExpiresSoon = TimeSpan.FromDays(7);

    readonly TlsSettings settings;
    readonly TimeProvider clock;
    volatile Loaded current;

    ServerCertificate(TlsSettings settings, TimeProvider clock) => (this.settings, this.clock, current) = (settings, clock, Load(settings));

    /// <exception cref="ServerCertificateException">A file is missing, or is not what it should be.</exception>
    public static ServerCertificate Of(TlsSettings settings, TimeProvider clock) => new(settings, clock);

    /// <summary>The terms of one handshake. TLS 1.2 is the oldest version that no browser and no auditor has given up (RFC 8996).</summary>
    /// <param name="protocols">What is spoken on the connection; null: the server says.</param>
    public SslServerAuthenticationOptions Options(List<SslApplicationProtocol>? protocols = null) => new()
    {
        ServerCertificateContext = current.Context,
        EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
        AllowRenegotiation = false,
        ApplicationProtocols = protocols,
    };

    /// <summary>Follows the files until the token is cancelled.</summary>
    public async Task Follow(ILogger logger, CancellationToken ct)
    {
        LogShown(logger, current.Subject, current.Until);
        Warn(logger);
        var warned = clock.GetTimestamp();
        string? kept = null;
        while (await clock.Pause(LookEvery, ct))
        {
            try
            {
                var files = Files.Read(settings);
                if (files.Digest != current.Digest)
                {
                    current = Load(settings, files);
                    LogReplaced(logger, current.Subject, current.Until);
                    Warn(logger);
                }
                kept = null;
            }
            catch (ServerCertificateException e)
            {
                if (e.Message != kept)
                {
                    LogKept(logger, e.Message);
                    kept = e.Message;
                }
            }
            if (clock.GetElapsedTime(warned) > WarnEvery)
            {
                warned = clock.GetTimestamp();
                Warn(logger);
            }
        }
    }

    void Warn(ILogger logger)
    {
        var (now, shown) = (clock.GetUtcNow(), current);
        if (shown.From > now)
        {
            LogEarly(logger, shown.Subject, shown.From);
        }
        if (shown.Until <= now)
        {
            LogExpired(logger, shown.Subject, shown.Until);
        }
        else if (shown.Until - now < ExpiresSoon)
        {
            LogExpires(logger, shown.Subject, shown.Until);
        }
        if (shown.KeyIsOpen)
        {
            LogOpen(logger, settings.Key ?? settings.Certificate);
        }
    }

    static Loaded Load(TlsSettings settings) => Load(settings, Files.Read(settings));

    static Loaded Load(TlsSettings settings, Files files)
    {
        if ((files.KeyMode & OthersMayWrite) != 0)
        {
            throw Wrong(settings.KeySetting, settings.Key ?? settings.Certificate, "users other than the file's owner may change the private key (chmod go-w)");
        }
        var (certificate, chain) = settings.IsPfx ? OfPfx(settings, files) : OfPem(settings, files);
        if (certificate.Extensions.OfType<X509EnhancedKeyUsageExtension>().FirstOrDefault() is { } usages
            && !usages.EnhancedKeyUsages.Cast<Oid>().Any(usage => usage.Value is "1.3.6.1.5.5.7.3.1" or "2.5.29.37.0"))
        {
            throw Wrong(settings.CertificateSetting, settings.Certificate, "the certificate is not one for servers (its extended key usage lacks serverAuth)");
        }
        // Offline: a handshake waits for nobody, and no address that a certificate names is asked.
        return new(SslStreamCertificateContext.Create(certificate, chain, offline: true), files.Digest, (files.KeyMode & UnixFileMode.OtherRead) != 0);
    }

    static (X509Certificate2 Certificate, X509Certificate2Collection Chain) OfPem(TlsSettings settings, Files files)
    {
        var (text, keyText) = (Encoding.Latin1.GetString(files.Certificate), Encoding.Latin1.GetString(files.Key));
        var chain = new X509Certificate2Collection();
        try
        {
            chain.ImportFromPem(text);
        }
        catch (CryptographicException)
        {
            throw Wrong(settings.CertificateSetting, settings.Certificate, "what stands there as a certificate cannot be read");
        }
        if (chain.Count == 0)
        {
            throw Wrong(settings.CertificateSetting, settings.Certificate, "there is no certificate in it (PEM: -----BEGIN CERTIFICATE-----)");
        }
        var keyPath = settings.Key ?? settings.Certificate;
        if (!keyText.Contains("PRIVATE KEY-----", StringComparison.Ordinal))
        {
            throw Wrong(settings.KeySetting, keyPath, "there is no private key in it (PEM: -----BEGIN PRIVATE KEY-----)");
        }
        var isEncrypted = keyText.Contains("ENCRYPTED", StringComparison.Ordinal);
        if (isEncrypted && files.Password is null)
        {
            throw Wrong(settings.KeySetting, keyPath, "the private key is encrypted, and neither Cowork:Tls:Password nor Cowork:Tls:PasswordFile gives its password");
        }
        try
        {
            return (isEncrypted ? X509Certificate2.CreateFromEncryptedPem(text, keyText, files.Password) : X509Certificate2.CreateFromPem(text, keyText), chain);
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            throw Wrong(settings.KeySetting, keyPath, IsKey(keyText, isEncrypted ? files.Password : null)
                ? $"the private key is not that of the certificate in {settings.Certificate}"
                : isEncrypted ? "the private key cannot be read: the password is wrong, or the file is damaged" : "what stands there as a private key cannot be read");
        }
    }

    static (X509Certificate2 Certificate, X509Certificate2Collection Chain) OfPfx(TlsSettings settings, Files files)
    {
        X509Certificate2Collection all;
        try
        {
            all = X509CertificateLoader.LoadPkcs12Collection(files.Certificate, files.Password, X509KeyStorageFlags.EphemeralKeySet);
        }
        catch (CryptographicException)
        {
            throw Wrong(
                settings.CertificateSetting, settings.Certificate,
                files.Password is null ? "it is no PFX file, or needs a password (Cowork:Tls:Password or Cowork:Tls:PasswordFile)" : "it is no PFX file, or the password is wrong");
        }
        return all.FirstOrDefault(certificate => certificate.HasPrivateKey) is { } own
            ? (own, [.. all.Where(certificate => certificate != own)])
            : throw Wrong(settings.CertificateSetting, settings.Certificate, "there is no certificate with its private key in it");
    }

    static bool IsKey(string pem, string? password)
    {
        foreach (var create in (Func<AsymmetricAlgorithm>[])[RSA.Create, ECDsa.Create])
        {
            using var key = create();
            try
            {
                if (password is null)
                {
                    key.ImportFromPem(pem);
                }
                else
                {
                    key.ImportFromEncryptedPem(pem, password);
                }
                return true;
            }
            catch (Exception e) when (e is CryptographicException or ArgumentException)
            {
                // Of another kind, or none.
            }
        }
        return false;
    }

    static ServerCertificateException Wrong(string setting, string path, string why) => new($"{setting} names {path}: {why}.");

    /// <summary>What the settings' files hold.</summary>
    /// <param name="Key">The certificate's own file where no other is named.</param>
    /// <param name="KeyMode">The access of the private key's file.</param>
    sealed record Files(byte[] Certificate, byte[] Key, string? Password, UnixFileMode KeyMode)
    {
        /// <summary>More than any chain needs, so that a device or a log file is not read to its end.</summary>
        const int BytesMax = 1 << 20;

        /// <summary>Of everything that makes a difference.</summary>
        public string Digest { get; } = Convert.ToHexString(SHA256.HashData(
            [.. SHA256.HashData(Certificate), .. SHA256.HashData(Key), .. Encoding.UTF8.GetBytes($"{Password}/{KeyMode}")]));

        public static Files Read(TlsSettings settings)
        {
            var certificate = Bytes(settings.CertificateSetting, settings.Certificate);
            var key = settings.Key is { } path ? Bytes(settings.KeySetting, path) : certificate;
            var password = settings.PasswordFile is { } file ? Encoding.UTF8.GetString(Bytes("Cowork:Tls:PasswordFile", file)).Split('\n')[0].TrimEnd('\r') : settings.Password;
            try
            {
                return new(certificate, key, password, File.GetUnixFileMode(settings.Key ?? settings.Certificate));
            }
            catch (IOException)
            {
                throw Wrong(settings.KeySetting, settings.Key ?? settings.Certificate, "there is no such file");
            }
        }

        static byte[] Bytes(string setting, string path)
        {
            try
            {
                using var file = File.OpenRead(path);
                var buffer = new byte[BytesMax + 1];
                var length = file.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
                return length <= BytesMax ? buffer[..length] : throw Wrong(setting, path, $"it is longer than {BytesMax} bytes");
            }
            catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
            {
                throw Wrong(setting, path, "there is no such file");
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw Wrong(setting, path, $"this process cannot read it: {e.Message.TrimEnd('.')}");
            }
        }
    }

    sealed record Loaded(SslStreamCertificateContext Context, string Digest, bool KeyIsOpen)
    {
        public string Subject => Context.TargetCertificate.GetNameInfo(X509NameType.DnsName, forIssuer: false) is { Length: > 0 } name ? name : Context.TargetCertificate.Subject;

        public DateTimeOffset From => new(Context.TargetCertificate.NotBefore.ToUniversalTime());

        public DateTimeOffset Until => new(Context.TargetCertificate.NotAfter.ToUniversalTime());
    }

    [LoggerMessage(1, LogLevel.Information, "TLS with the certificate of {Subject}, valid until {Until:u}")]
    static partial void LogShown(ILogger logger, string subject, DateTimeOffset until);

    [LoggerMessage(2, LogLevel.Information, "The TLS certificate was replaced: that of {Subject}, valid until {Until:u}, is shown from now on")]
    static partial void LogReplaced(ILogger logger, string subject, DateTimeOffset until);

    [LoggerMessage(3, LogLevel.Warning, "The TLS certificate's files changed and cannot be used, so the certificate of before is kept: {Reason}")]
    static partial void LogKept(ILogger logger, string reason);

    [LoggerMessage(4, LogLevel.Warning, "The TLS certificate of {Subject} is valid only from {From:u} on; clients refuse it until then")]
    static partial void LogEarly(ILogger logger, string subject, DateTimeOffset from);

    [LoggerMessage(5, LogLevel.Warning, "The TLS certificate of {Subject} expired at {Until:u}; clients refuse it. Put another one in its place, no restart is needed")]
    static partial void LogExpired(ILogger logger, string subject, DateTimeOffset until);

    [LoggerMessage(6, LogLevel.Warning, "The TLS certificate of {Subject} expires at {Until:u}. Put another one in its place, no restart is needed")]
    static partial void LogExpires(ILogger logger, string subject, DateTimeOffset until);

    [LoggerMessage(7, LogLevel.Warning, "Every user of this machine may read the private key in {File}: chmod o-r (for a mounted secret, defaultMode 0440)")]
    static partial void LogOpen(ILogger logger, string file);
}

/// <summary>The certificate cannot be used; the message is a sentence that names the setting, the file and what is wrong.</summary>
public sealed class ServerCertificateException : Exception
{
    public ServerCertificateException()
    {
    }

    public ServerCertificateException(string message)
        : base(message)
    {
    }

    public ServerCertificateException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
